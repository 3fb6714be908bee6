// C++ services by name, from this program and from shared objects.

#include <fstream>

#include "thread_world.h"

using namespace unirun;
using namespace unirun::test;

namespace {

// Beside this test.
std::string library(const std::string& name) {
  return std::string(UNIRUN_TEST_LIBRARIES) + "/lib" + name + ".so";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

class Registered final : public Service {
 public:
  void run(ServiceContext& context) override { context.ready(); }
};
UNIRUN_REGISTER_SERVICE(Registered, "registered-here")

}  // namespace

TEST_CASE("a program registers its services under a name") {
  CHECK(ServiceRegistry::of_program().check("registered-here").ok());
  ServiceSpec spec;
  spec.target = NativeTarget{"registered-here"};
  const auto service = ServiceRegistry::of_program().make(spec, ServiceStyle::blocking);
  REQUIRE(service.ok());
  CHECK(dynamic_cast<Registered*>(service->get()) != nullptr);
}

TEST_CASE("an unknown name says what there is") {
  ServiceRegistry registry;
  CHECK(registry.check("reader").error().message ==
        "no native service \"reader\" is registered; there is none at all");
  registry.add("reader", new_service<Registered>);
  registry.add("writer", new_service<Registered>);
  CHECK(registry.names() == std::vector<std::string>{"reader", "writer"});
  CHECK(registry.check("raeder").error().message ==
        "no native service \"raeder\" is registered; did you mean \"reader\"?");
  CHECK(registry.check("xyzzy").error().message ==
        "no native service \"xyzzy\" is registered; there is: reader, writer");
}

TEST_CASE(
    "a service of a shared object runs, gets its arguments, stops and crashes like any other") {
  ThreadWorld world;
  ServiceSpec spec;
  spec.target = NativeTarget{library("test_services") + ":echo"};
  spec.arguments = {"hello"};
  spec.readiness = NotifyReadiness{};
  const LaunchOutcome outcome = world.launch(std::make_shared<const ServiceSpec>(spec));
  REQUIRE_MESSAGE(outcome.state == LaunchOutcome::State::starting, outcome.reason.describe());
  REQUIRE(world.wait_until([&] { return !world.ready.empty(); }));
  world.executor->request_stop(world.last);
  REQUIRE(world.wait_for_end());
  CHECK(world.exits[world.last].kind == ExitKind::shutdown);
  CHECK(world.published<ServiceLog>().at(0).message == "hello");

  ServiceSpec crash;
  crash.target = NativeTarget{library("test_services") + ":crash"};
  world.launch(std::make_shared<const ServiceSpec>(crash));
  REQUIRE(world.wait_for_end());
  CHECK(world.exits[world.last].exception->type == "std::runtime_error");
  CHECK(world.exits[world.last].exception->message == "from afar");
}

TEST_CASE("a shared object that is wrong is refused, with what would be right") {
  ServiceRegistry registry;
  const auto message = [&](const std::string& name) {
    const Status status = registry.check(name);
    return status.ok() ? std::string("fine") : status.error().message;
  };
  CHECK(contains(message(library("test_services") + ":ecko"), "did you mean \"echo\"?"));
  CHECK(contains(message(library("test_services") + ":nothing-like-it"), "there is: crash, echo"));
  CHECK(contains(message(library("no_such_thing") + ":echo"), "No such file or directory"));
  CHECK(contains(message(":echo"), "write \"name\" or \"path/lib.so:name\""));
  CHECK(contains(message(library("test_no_entry") + ":echo"),
                 "it has no unirun_service_library(); write UNIRUN_SERVICE_LIBRARY(...)"));
  CHECK(contains(message(library("test_old_services") + ":echo"),
                 "it was built with unirun 0.0.1, and this is "));
  CHECK(contains(message(library("test_other_services") + ":echo"),
                 "with another compiler or other settings"));

  const std::string text = library("test_text");
  std::ofstream(text) << "no shared object\n";
  CHECK((contains(message(text + ":echo"), "invalid ELF header") ||
         contains(message(text + ":echo"), "file too short")));
}
