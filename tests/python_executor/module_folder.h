// A folder with Python modules of the test's own, for whatever imports: interpreters, processes.

#pragma once

#include <cstdlib>

#include <filesystem>
#include <fstream>
#include <string>

namespace unirun::python {

class ModuleFolder {
 public:
  ModuleFolder() {
    std::string pattern =
        (std::filesystem::temp_directory_path() / "unirun-modules-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~ModuleFolder() { std::filesystem::remove_all(path_); }
  ModuleFolder(const ModuleFolder&) = delete;
  ModuleFolder& operator=(const ModuleFolder&) = delete;

  void add(const std::string& module, const std::string& code) {
    std::ofstream(path_ + "/" + module + ".py") << code;
  }
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace unirun::python
