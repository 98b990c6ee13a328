#include "run_folder.hpp"

#include <sys/file.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <system_error>
#include <utility>

#include <preheat/files/strict_json.hpp>
#include <preheat/files/text_file.hpp>
#include <preheat/safetensors/checkpoint.hpp>

namespace apps::finetune {
namespace {

using preheat::io_error;

// Whether there is something to go on from, in the folder or in that of a run of a sweep.
bool has_checkpoint(const std::filesystem::path& folder) {
  const auto in = [](const std::filesystem::path& one) {
    return std::filesystem::exists(one / "checkpoint.safetensors");
  };
  const std::filesystem::directory_iterator all(folder), end;
  return in(folder) || std::any_of(all, end, [&](const auto& one) { return in(one.path()); });
}

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& what) {
  throw io_error(path.string() + ": " + what + ": " + std::generic_category().message(errno));
}

}  // namespace

run_folder::run_folder(std::filesystem::path path, const nlohmann::ordered_json& settings)
    : path_(std::move(path)) {
  std::error_code problem;
  std::filesystem::create_directories(path_, problem);
  if (problem) {
    throw io_error(path_.string() + ": cannot make this folder: " + problem.message());
  }
  lock_.reset(std::fopen((path_ / "lock").c_str(), "ab"));
  if (!lock_) {
    fail(path_, "cannot write there");
  }
  if (::flock(::fileno(lock_.get()), LOCK_EX | LOCK_NB) != 0) {
    lock_.reset();
    throw io_error(path_.string() + ": another process trains into it; choose another --out");
  }
  const std::filesystem::path file = path_ / "settings.json";
  if (!std::filesystem::exists(file)) {
    preheat::files::write_text_file(file, settings.dump(2) + "\n");
    return;
  }
  constexpr std::size_t longest = 1 << 20;
  constexpr std::size_t deepest = 4;
  const auto before = preheat::files::parse_strict_json<nlohmann::ordered_json>(
      preheat::files::read_text_file(file, longest), file.string(), deepest);
  for (const auto& [key, value] : settings.items()) {
    const auto there = before.find(key);
    if (there == before.end() || *there != value) {
      throw io_error(
          other_setting(key, there == before.end() ? "nothing" : there->dump(), value.dump()));
    }
  }
}

run_folder::~run_folder() {
  if (!stays_ && lock_ && !has_checkpoint(path_)) {
    remove();
  }
}

std::string run_folder::other_setting(const std::string& key, const std::string& before,
                                      const std::string& now) const {
  return path_.string() + " is an unfinished run with another \"" + key + "\": " + before +
         ", not " + now + "; remove it, or choose another --out";
}

void run_folder::save(const char* name, const preheat::training_state& state) const {
  preheat::safetensors::save_checkpoint(state, path_ / name);
}

std::optional<preheat::training_state> run_folder::last_in(const std::filesystem::path& folder) {
  return preheat::safetensors::load_checkpoint(folder / "checkpoint.safetensors");
}
std::optional<preheat::training_state> run_folder::best_in(const std::filesystem::path& folder) {
  return preheat::safetensors::load_checkpoint(folder / "best.safetensors");
}

void run_folder::begin_log(preheat::index_t step) {
  std::string kept;
  if (step > 0 && std::filesystem::exists(path_ / "log.jsonl")) {
    std::ifstream file(path_ / "log.jsonl");
    for (std::string line; std::getline(file, line);) {
      const nlohmann::json values = nlohmann::json::parse(line, nullptr, false);
      if (!values.is_object() || (values.value("phase", "") == "training" &&
                                  values.value("step", preheat::index_t(0)) > step)) {
        break;  // cut off, or of steps that are done again
      }
      kept += line + "\n";
    }
  }
  preheat::files::write_text_file(path_ / "log.jsonl", kept);
  log_.reset(std::fopen((path_ / "log.jsonl").c_str(), "ab"));
  if (!log_) {
    fail(path_ / "log.jsonl", "cannot write");
  }
}

void run_folder::log(const nlohmann::ordered_json& line) {
  const std::string text = line.dump() + "\n";
  if (std::fwrite(text.data(), 1, text.size(), log_.get()) != text.size() ||
      std::fflush(log_.get()) != 0) {
    fail(path_ / "log.jsonl", "cannot write");
  }
}

std::string run_folder::log_text() const {
  constexpr std::size_t longest = std::size_t(1) << 32;
  return preheat::files::read_text_file(path_ / "log.jsonl", longest);
}

void run_folder::remove() {
  log_.reset();
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
  lock_.reset();
}

}  // namespace apps::finetune
