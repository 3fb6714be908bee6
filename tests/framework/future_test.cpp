#include "framework/future.h"

#include <doctest/doctest.h>

#include <memory>
#include <optional>
#include <string>
#include <thread>

namespace unirun {
namespace {

using namespace std::chrono_literals;

TEST_CASE("a future gives what its promise was settled with, value or error") {
  Promise<std::unique_ptr<int>> promise;
  Future<std::unique_ptr<int>> future = promise.future();
  CHECK_FALSE(future.is_ready());
  CHECK_FALSE(future.wait_for(0s));
  promise.settle(std::make_unique<int>(5));
  CHECK(future.is_ready());
  CHECK(future.wait_for(0s));
  CHECK(**future.get() == 5);
  CHECK_FALSE(future.valid());

  Promise<int> failing;
  Future<int> failed = failing.future();
  failing.settle(Error{Errc::io, "no disk"});
  CHECK(failed.get().error().message == "no disk");
}

TEST_CASE("a future of nothing says only that it happened") {
  Promise<void> promise;
  Future<void> future = promise.future();
  promise.settle({});
  CHECK(future.get().ok());
}

TEST_CASE("a dropped promise settles as cancelled, however it is dropped") {
  Future<int> future;
  SUBCASE("destroyed") {
    Promise<int> promise;
    future = promise.future();
  }
  SUBCASE("overwritten") {
    Promise<int> promise;
    future = promise.future();
    promise = Promise<int>();
  }
  CHECK(future.get().error().code == Errc::cancelled);
}

TEST_CASE("a moved promise is not a dropped one") {
  Promise<int> promise;
  Future<int> future = promise.future();
  Promise<int> heir = std::move(promise);
  CHECK_FALSE(future.is_ready());
  heir.settle(1);
  CHECK(future.get().value() == 1);
}

TEST_CASE("get waits for another thread to settle") {
  Promise<std::string> promise;
  Future<std::string> future = promise.future();
  std::thread thread([held = std::move(promise)]() mutable { held.settle(std::string("done")); });
  CHECK(future.get().value() == "done");
  thread.join();
}

TEST_CASE("on_ready is called once, on the settling thread or at once") {
  Promise<int> promise;
  int seen = 0;
  promise.future().on_ready([&](Result<int> result) { seen += *result; });
  CHECK(seen == 0);
  promise.settle(7);
  CHECK(seen == 7);

  Promise<int> early;
  Future<int> future = early.future();
  early.settle(1);
  future.on_ready([&](Result<int> result) { seen += *result; });
  CHECK(seen == 8);
  CHECK_FALSE(future.valid());
}

TEST_CASE("on_ready and settle may race: the outcome arrives once all the same") {
  for (int round = 0; round < 1'000; ++round) {
    Promise<int> promise;
    Future<int> future = promise.future();
    std::atomic<int> calls{0};
    std::thread settler([&] { promise.settle(1); });
    future.on_ready([&](Result<int>) { ++calls; });
    settler.join();
    CHECK(calls == 1);
  }
}

}  // namespace
}  // namespace unirun
