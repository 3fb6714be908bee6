// ServiceOccupant is an async service as whoever watches the loop sees it, and what keeps the
// Service alive while they look.

#pragma once

#include <memory>
#include <string>
#include <utility>

#include "executors/in_process/in_process_context.h"
#include "framework/loop_seat.h"
#include "framework/service.h"

namespace unirun {

class ServiceOccupant final : public LoopOccupant {
 public:
  ServiceOccupant(std::shared_ptr<InProcessContext> context, std::unique_ptr<Service> service)
      : context_(std::move(context)), service_(std::move(service)) {}

  [[nodiscard]] Service& service() const { return *service_; }

  [[nodiscard]] RunId run() const override { return context_->launch().run; }
  [[nodiscard]] std::string path() const override { return context_->path(); }
  [[nodiscard]] std::string stack() const override { return service_->stack(); }

 private:
  const std::shared_ptr<InProcessContext> context_;
  const std::unique_ptr<Service> service_;
};

}  // namespace unirun
