#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "executors/output/line_splitter.h"
#include "executors/output/output_line.h"
#include "executors/output/service_output.h"
#include "process_fixture.h"

using namespace unirun;
using namespace unirun::test;

namespace fs = std::filesystem;

namespace {

std::vector<std::string> split(const std::vector<std::string>& parts) {
  std::vector<std::string> lines;
  LineSplitter splitter;
  const auto keep = [&](std::string_view line, bool continued) {
    lines.push_back(std::string(line) + (continued ? "..." : ""));
  };
  for (const std::string& part : parts) splitter.feed(part, keep);
  splitter.finish(keep);
  return lines;
}

struct Store {
  SystemClock clock;
  EventLoop loop{clock};
  EventBus bus{clock};
  std::vector<std::string> warnings;
  Subscription subscription = bus.subscribe(EventKind::warning, [this](const Event& event) {
    warnings.push_back(std::get<Warning>(event.payload).what);
  });
  OutputStore output{loop, bus};

  std::shared_ptr<ServiceOutput> open(const OutputSpec& spec) {
    return output.open("tree/service", spec, spec.file);
  }
  void append(ServiceOutput& service, const std::string& text) {
    service.append(RunId{1}, OutputStream::standard_output, text, false);
  }
  void flush() {
    output.flush([this] { loop.stop(); });
    loop.run();
    loop.run_ready();
  }
};

}  // namespace

TEST_CASE("bytes become lines however they arrive") {
  CHECK(split({"one\ntwo\n"}) == std::vector<std::string>{"one", "two"});
  CHECK(split({"o", "n", "e\nt", "wo"}) == std::vector<std::string>{"one", "two"});
  CHECK(split({"\n\n"}) == std::vector<std::string>{"", ""});
  CHECK(split({"one\r\n", "two\r", "\n"}) == std::vector<std::string>{"one", "two"});
  CHECK(split({}).empty());
}

TEST_CASE("a line that is too long comes in pieces, and no byte is lost") {
  const std::string full(LineSplitter::max_line, 'x');
  CHECK(split({full + "\n"}) == std::vector<std::string>{full});
  CHECK(split({full + "y\n"}) == std::vector<std::string>{full + "...", "y"});
  CHECK(split({full, full, "y\n"}) == std::vector<std::string>{full + "...", full + "...", "y"});
}

TEST_CASE("the ring keeps the latest lines within its bytes") {
  Store store;
  OutputSpec spec;
  spec.ring_bytes = 10 * (sizeof(OutputLine) + 4);
  const auto service = store.open(spec);
  for (int i = 1000; i < 2000; ++i) store.append(*service, std::to_string(i));
  const auto lines = store.output.tail("tree/service", 100);
  REQUIRE(lines.size() == 10);
  CHECK(lines.front().text == "1990");
  CHECK(lines.back().text == "1999");
  CHECK(lines.back().number == 1000);
  CHECK(store.output.tail("tree/service", 2).size() == 2);
  CHECK(store.output.tail("tree/other", 2).empty());
}

TEST_CASE("followers get what they follow, and may end within a line") {
  Store store;
  const auto service = store.open({});
  std::vector<std::string> seen;
  Registration once;
  once = store.output.follow("tree/service", [&](const std::string& path, const OutputLine& line) {
    seen.push_back(path + " " + line.text);
    once.reset();
  });
  const Registration other =
      store.output.follow("tree/other", [&](const std::string&, const OutputLine&) { FAIL("no"); });
  int all = 0;
  const Registration every =
      store.output.follow({}, [&](const std::string&, const OutputLine&) { ++all; });
  store.append(*service, "one");
  store.append(*service, "two");
  CHECK(seen == std::vector<std::string>{"tree/service one"});
  CHECK(all == 2);
}

TEST_CASE("what is not UTF-8 is replaced on its way into JSON, and only there") {
  OutputLine line;
  line.text =
      "a\xff"
      "b";
  CHECK(to_json(line)["text"] ==
        "a\xef\xbf\xbd"
        "b");
  CHECK(to_json(line).dump().find("stdout") != std::string::npos);
}

TEST_CASE("files are rotated by size, and so many of them are kept") {
  Store store;
  const TemporaryFolder folder;
  OutputSpec spec;
  spec.file = folder.file("deep/er/log");
  spec.max_file_bytes = 100;
  spec.max_files = 2;
  const auto service = store.open(spec);
  for (int i = 0; i < 100; ++i) store.append(*service, "line " + std::to_string(1000 + i));
  store.flush();
  std::size_t files = 0;
  std::string rest;
  for (const auto& entry : fs::directory_iterator(folder.file("deep/er"))) {
    CHECK(entry.file_size() <= 100);
    rest += content_of(entry.path());
    ++files;
  }
  CHECK(files == 3);
  CHECK(rest.find("line 1099\n") != std::string::npos);
  CHECK(rest.find("line 1000\n") == std::string::npos);
}

TEST_CASE("a file that was removed is made anew, one that was moved is left alone") {
  Store store;
  const TemporaryFolder folder;
  OutputSpec spec;
  spec.file = folder.file("log");
  const auto service = store.open(spec);
  store.append(*service, "one");
  store.flush();
  CHECK(content_of(spec.file) == "one\n");
  SUBCASE("removed") {
    fs::remove(spec.file);
    store.append(*service, "two");
    store.flush();
    CHECK(content_of(spec.file) == "two\n");
  }
  SUBCASE("moved, and another put in its place") {
    fs::rename(spec.file, folder.file("log.old"));
    std::ofstream(spec.file) << "not ours\n";
    store.append(*service, "two");
    store.flush();
    CHECK(content_of(spec.file) == "not ours\ntwo\n");
    CHECK(content_of(folder.file("log.old")) == "one\n");
  }
  SUBCASE("reopened, although it still has its name") {
    store.output.reopen_files();
    store.append(*service, "two");
    store.flush();
    CHECK(content_of(spec.file) == "one\ntwo\n");
  }
}

TEST_CASE("two services that name the same file share it, and its rotation") {
  Store store;
  const TemporaryFolder folder;
  OutputSpec spec;
  spec.file = folder.file("log");
  spec.max_file_bytes = 1000;
  spec.max_files = 1000;
  const auto one = store.output.open("tree/one", spec, spec.file);
  const auto two = store.output.open("tree/two", spec, spec.file);
  for (int i = 0; i < 500; ++i) {
    store.append(*one, "one " + std::to_string(i));
    store.append(*two, "two " + std::to_string(i));
  }
  store.flush();
  std::ptrdiff_t lines = 0;
  for (const auto& entry : fs::directory_iterator(folder.path())) {
    const std::string content = content_of(entry.path());
    CHECK(content.size() <= 1000);
    lines += std::count(content.begin(), content.end(), '\n');
  }
  CHECK(lines == 1000);
}

TEST_CASE("a full disk costs lines of the file, is told once, and nothing else") {
  Store store;
  OutputSpec spec;
  spec.file = "/dev/full";
  const auto service = store.open(spec);
  for (int round = 0; round < 3; ++round) {
    store.append(*service, "line");
    store.flush();
  }
  REQUIRE(store.warnings.size() == 1);
  CHECK(store.warnings[0].find("log file /dev/full: ") == 0);
  CHECK(store.warnings[0].find("No space left on device") != std::string::npos);
  CHECK(store.output.tail("tree/service", 10).size() == 3);
}

TEST_CASE("a folder that cannot be made is told, too") {
  Store store;
  OutputSpec spec;
  spec.file = "/proc/no/such/log";
  const auto service = store.open(spec);
  store.append(*service, "line");
  store.flush();
  CHECK(store.warnings.size() == 1);
}

TEST_CASE("a store that is gone takes no lines, and harms nobody who holds its outputs") {
  std::shared_ptr<ServiceOutput> service;
  {
    Store store;
    service = store.open({});
  }
  service->append(RunId{1}, OutputStream::standard_output, "late", false);
  CHECK(service->path() == "tree/service");
}

TEST_CASE("both streams are captured, line by line, and no line is lost over a hundred restarts") {
  World world;
  const TemporaryFolder folder;
  std::string expected;
  for (int i = 0; i < 100; ++i) {
    const std::string text = std::to_string(i);
    ServiceSpec spec =
        command({"/bin/sh", "-c", "echo out " + text + "; echo err " + text + " >&2; printf end"});
    spec.output.file = folder.file("{id}.log");
    CHECK(world.end_of(spec).kind == ExitKind::normal);
  }
  const auto lines = world.output.tail("tree/service", 1000);
  REQUIRE(lines.size() == 300);
  for (std::size_t i = 0; i < 100; ++i) {
    std::vector<std::string> of_run;
    for (std::size_t j = 3 * i; j < 3 * i + 3; ++j) {
      CHECK(lines[j].run == RunId{i + 1});
      of_run.push_back(lines[j].text);
      if (lines[j].text.rfind("err", 0) == 0) {
        CHECK(lines[j].stream == OutputStream::standard_error);
      }
    }
    std::sort(of_run.begin(), of_run.end());
    CHECK(of_run ==
          std::vector<std::string>{"end", "err " + std::to_string(i), "out " + std::to_string(i)});
  }
  bool written = false;
  world.output.flush([&] { written = true; });
  REQUIRE(world.wait_until([&] { return written; }));
  const std::string file = content_of(folder.file("service.log"));
  CHECK(std::count(file.begin(), file.end(), '\n') == 300);
}

TEST_CASE("a stray that holds the pipes is drained, then the pipes are closed") {
  World world;
  const TemporaryFolder folder;
  const std::size_t before = open_descriptors();
  const std::string there = folder.file("there");
  CHECK(world
            .end_of({"/bin/sh", "-c",
                     "(setsid sh -c 'echo inner; touch " + there + "; exec sleep 60' &);" +
                         "while ! test -e " + there + "; do :; done; echo outer"})
            .kind == ExitKind::normal);
  CHECK(world.lines() == std::vector<std::string>{"inner", "outer"});
  REQUIRE(world.wait_until([&] { return world.count(EventKind::strays_killed) > 0; }));
  CHECK(world.wait_until([&] { return open_descriptors() == before; }));
}

TEST_CASE("output that is not captured goes where the host's own goes") {
  World world;
  ServiceSpec spec = command({"/bin/sh", "-c", "test /proc/$$/fd/1 -ef /proc/$PPID/fd/1"});
  spec.output.capture = false;
  CHECK(world.end_of(spec).kind == ExitKind::normal);
  CHECK(world.lines().empty());
}
