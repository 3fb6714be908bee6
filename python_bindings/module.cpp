#include "python_bindings/pybind.h"

PYBIND11_MODULE(_core, module) {
  module.doc() = "The native half of unirun; see _core.pyi.";
  module.attr("__version__") = UNIRUN_VERSION;
  unirun::bindings::bind_events(module);
  unirun::bindings::bind_host(module);
  unirun::bindings::bind_loop(module);
  unirun::bindings::bind_services(module);
}
