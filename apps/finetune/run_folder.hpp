// The folder of an unfinished run beside its result, OUT.run: what the run is, its last checkpoint and its
// log. It is locked, so that no second process trains into it.
#pragma once
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include <preheat/core/archive.hpp>

namespace apps::finetune {

class run_folder {
 public:
  // Opens or makes it. `settings` is all that the result depends on. Errors: io_error: it is in use, or
  // is that of another command, naming the first setting that differs.
  run_folder(std::filesystem::path path, const nlohmann::ordered_json& settings);
  run_folder(const run_folder&) = delete;
  run_folder& operator=(const run_folder&) = delete;
  // Removes it if there is nothing in it to go on from.
  ~run_folder();

  const std::filesystem::path& path() const { return path_; }

  void keep(const preheat::training_state& state) { save("checkpoint.safetensors", state); }
  std::optional<preheat::training_state> last() const { return last_in(path_); }
  void keep_best(const preheat::training_state& state) { save("best.safetensors", state); }
  // The same of a run that another process trains.
  static std::optional<preheat::training_state> last_in(const std::filesystem::path& folder);
  static std::optional<preheat::training_state> best_in(const std::filesystem::path& folder);

  // Keeps those lines of the log that are of steps up to this one. To be called once, before log().
  void begin_log(preheat::index_t step);
  void log(const nlohmann::ordered_json& line);
  std::string log_text() const;

  // It stays, whatever is in it.
  void keep_always() { stays_ = true; }
  // The run is over.
  void remove();

 private:
  struct closer {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::string other_setting(const std::string& key, const std::string& before,
                            const std::string& now) const;
  void save(const char* name, const preheat::training_state& state) const;

  std::filesystem::path path_;
  bool stays_ = false;
  std::unique_ptr<std::FILE, closer> lock_, log_;
};

}  // namespace apps::finetune
