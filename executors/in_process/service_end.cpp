#include "executors/in_process/service_end.h"

#include <cxxabi.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <typeinfo>

#include "framework/cancellation.h"
#include "framework/require.h"
#include "framework/service.h"

namespace unirun {
namespace {

std::string name_of(const std::type_info* type) {
  if (type == nullptr) return "unknown";
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> name(
      abi::__cxa_demangle(type->name(), nullptr, nullptr, &status), &std::free);
  return name ? name.get() : type->name();
}

ServiceEnd ended(ExitReason reason) { return {std::move(reason), false}; }

ServiceEnd by_exception(std::string type, std::string message) {
  ExitReason reason = ExitReason::of(ExitKind::exception);
  reason.exception = ExceptionText{std::move(type), std::move(message), {}};
  return ended(std::move(reason));
}

}  // namespace

ServiceEnd service_end(const std::exception_ptr& failure, bool stop_requested) {
  if (!failure) return ended(stop_requested ? ExitReason::shutdown() : ExitReason::normal());
  try {
    std::rethrow_exception(failure);
  } catch (const ServiceEnded& end) {
    return ended(end.reason());
  } catch (const Declined&) {
    return {ExitReason::normal(), true};
  } catch (const Cancelled& cancelled) {
    if (stop_requested) return ended(ExitReason::shutdown());
    return by_exception(name_of(&typeid(cancelled)), "nobody had requested it");
  } catch (const std::exception& exception) {
    return by_exception(name_of(&typeid(exception)), exception.what());
  } catch (...) {
    return by_exception(name_of(abi::__cxa_current_exception_type()), {});
  }
}

ServiceEnd preparation_failed(const std::exception_ptr& failure) {
  UNIRUN_REQUIRE(failure != nullptr);
  ServiceEnd end = service_end(failure, false);
  if (end.reason.kind == ExitKind::exception) end.reason.kind = ExitKind::start_failed;
  return end;
}

}  // namespace unirun
