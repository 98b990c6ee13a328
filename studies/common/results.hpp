// The record of one run, and the file that keeps them: runs.jsonl, one JSON object a line, so that
// a rerun resumes and other programs can read along.
//
//   common::run_log log("results/runs.jsonl");     // reads what is there
//   if (log.find(definition) == nullptr) log.append(record);
#pragma once
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "apps/console/text_table.hpp"
#include "statistics.hpp"

namespace studies::common {

using namespace apps::console;  // what every program here prints with
using apps::console::to_text;   // beside the texts of other things

// A loss after so many training steps.
struct curve_point {
  int step = 0;
  double loss = not_a_number;
};

// What defines a run: with the same values here, it gives the same numbers.
struct run_definition {
  std::string shift;
  std::string method;    // its identifier
  int rank = 0;          // 0: the method has none
  double rate = 0;       // learning rate
  int base = 0;          // seed of the pretraining
  int seed = 0;          // of the run, counted within a base
  int steps = 0;         // in all, evidence included
  std::string settings;  // everything else, as text: batch, schedule, data, library …
};

// What came of it. A number that is not finite is written as null and read as NaN.
struct run_outcome {
  std::string status{};                        // "completed", "non-finite loss", "interrupted"
  double validation_loss = not_a_number;       // after the last step: chooses the rate
  double best_validation_loss = not_a_number;  // smallest on the curve
  double validation_accuracy = not_a_number;
  double test_loss = not_a_number;
  double test_accuracy = not_a_number;
  long trainable_parameters = 0;
  int calibration_steps = 0;         // of all steps, those spent on evidence (HRP's preheating)
  double seconds = not_a_number;     // of processor time
  std::string cut_layers{};          // layers too small for the rank, "layers.2: 10"; else empty
  std::vector<curve_point> curve{};  // validation loss
  std::vector<curve_point>
      training_curve{};  // mean training loss since the point before; may be empty
  std::map<std::string, double> measures{};  // what only some studies measure, by name
  std::vector<std::string> samples{};        // texts that the trained model wrote
};

struct run_record : run_definition, run_outcome {
  std::string name;  // of the method, for readers
};

// The fields by which a kept run is recognized as a wanted one.
inline std::string key(const run_definition& r) {
  return r.shift + " | " + r.method + " | rank " + std::to_string(r.rank) + " | rate " +
         to_text(r.rate) + " | base " + std::to_string(r.base) + " | seed " +
         std::to_string(r.seed) + " | steps " + std::to_string(r.steps) + " | " + r.settings;
}

// ------------------------------------------------------------------------------------------- JSON

inline nlohmann::ordered_json to_json(const std::vector<curve_point>& curve) {
  nlohmann::ordered_json points = nlohmann::ordered_json::array();
  for (const curve_point& p : curve) {
    points.push_back({p.step, p.loss});
  }
  return points;
}

// One line, without its end. Order of the members as in the struct; an empty training curve is left
// out, and so are measures and samples where there are none.
inline std::string to_line(const run_record& r) {
  nlohmann::ordered_json line = {
      {"shift", r.shift},
      {"method", r.method},
      {"rank", r.rank},
      {"rate", r.rate},
      {"base", r.base},
      {"seed", r.seed},
      {"steps", r.steps},
      {"settings", r.settings},
      {"name", r.name},
      {"status", r.status},
      {"validation_loss", r.validation_loss},
      {"best_validation_loss", r.best_validation_loss},
      {"validation_accuracy", r.validation_accuracy},
      {"test_loss", r.test_loss},
      {"test_accuracy", r.test_accuracy},
      {"trainable_parameters", r.trainable_parameters},
      {"calibration_steps", r.calibration_steps},
      {"seconds", r.seconds},
      {"cut_layers", r.cut_layers},
      {"curve", to_json(r.curve)},
  };
  if (!r.training_curve.empty()) {
    line["training_curve"] = to_json(r.training_curve);
  }
  if (!r.measures.empty()) {
    line["measures"] = r.measures;
  }
  if (!r.samples.empty()) {
    line["samples"] = r.samples;
  }
  return line.dump();
}

// Throws nlohmann::json::exception if the text is not such a line.
inline run_record from_line(const std::string& text) {
  const nlohmann::json line = nlohmann::json::parse(text);
  const auto number = [](const nlohmann::json& value) {
    return value.is_null() ? not_a_number : value.get<double>();
  };
  run_record r;
  line.at("shift").get_to(r.shift);
  line.at("method").get_to(r.method);
  line.at("rank").get_to(r.rank);
  r.rate = number(line.at("rate"));
  line.at("base").get_to(r.base);
  line.at("seed").get_to(r.seed);
  line.at("steps").get_to(r.steps);
  line.at("settings").get_to(r.settings);
  line.at("name").get_to(r.name);
  line.at("status").get_to(r.status);
  r.validation_loss = number(line.at("validation_loss"));
  r.best_validation_loss = number(line.at("best_validation_loss"));
  r.validation_accuracy = number(line.at("validation_accuracy"));
  r.test_loss = number(line.at("test_loss"));
  r.test_accuracy = number(line.at("test_accuracy"));
  line.at("trainable_parameters").get_to(r.trainable_parameters);
  // Files of versions before 0.2 say evidence_steps.
  line.at(line.contains("evidence_steps") ? "evidence_steps" : "calibration_steps")
      .get_to(r.calibration_steps);
  r.seconds = number(line.at("seconds"));
  line.at("cut_layers").get_to(r.cut_layers);
  const auto points = [&](const nlohmann::json& curve) {
    std::vector<curve_point> all;
    for (const nlohmann::json& p : curve) {
      all.push_back({p.at(0).get<int>(), number(p.at(1))});
    }
    return all;
  };
  r.curve = points(line.at("curve"));
  if (line.contains("training_curve")) {
    r.training_curve = points(line.at("training_curve"));
  }
  if (line.contains("measures")) {
    for (const auto& [name, value] : line.at("measures").items()) {
      r.measures[name] = number(value);
    }
  }
  if (line.contains("samples")) {
    line.at("samples").get_to(r.samples);
  }
  return r;
}

// ---------------------------------------------------------------------------------------- the file

// What a file of runs holds. Only whole lines count: what follows the last line end was cut off
// while it was written, and is reported in `note`.
struct kept_runs {
  std::vector<run_record> runs;
  std::uintmax_t bytes = 0;  // of the whole lines
  std::string note;          // empty if there is nothing to say
};

// A file that does not exist holds no runs. Throws std::runtime_error, naming the line, if a whole
// line is not a run: then the file is something else, and is left alone.
inline kept_runs read_runs(const std::filesystem::path& path) {
  kept_runs kept;
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return kept;
  }
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  std::size_t begin = 0;
  for (int number = 1;; ++number) {
    const std::size_t end = text.find('\n', begin);
    if (end == std::string::npos) {
      break;
    }
    try {
      kept.runs.push_back(from_line(text.substr(begin, end - begin)));
    } catch (const nlohmann::json::exception& error) {
      throw std::runtime_error(path.string() + ": line " + std::to_string(number) +
                               " is not a run of this program (" + error.what() +
                               "); move the file away or choose another --out");
    }
    begin = end + 1;
  }
  kept.bytes = begin;
  if (begin < text.size()) {
    kept.note = path.string() + ": the last line was cut off and is dropped; its run is done again";
  }
  return kept;
}

// The runs of one directory, in memory and in its file. Threads may share it.
class run_log {
 public:
  // Of a process that keeps nothing: nothing may be appended.
  run_log() = default;
  // Reads the file, drops a cut-off last line, and keeps the file locked against a second writer.
  // Throws std::runtime_error if the file cannot be opened, is locked, or is something else.
  explicit run_log(std::filesystem::path path) : path_(std::move(path)) {
    file_.reset(std::fopen(path_.c_str(), "ab"));
    if (!file_) {
      fail("open");
    }
    if (::flock(::fileno(file_.get()), LOCK_EX | LOCK_NB) != 0) {
      throw std::runtime_error(path_.string() +
                               ": another process is writing there; choose another --out");
    }
    kept_runs kept = read_runs(path_);
    if (!kept.note.empty()) {
      std::filesystem::resize_file(path_, kept.bytes);
    }
    note_ = std::move(kept.note);
    for (run_record& r : kept.runs) {
      runs_.insert_or_assign(key(r), std::move(r));
    }
  }

  const std::string& note() const { return note_; }
  std::size_t size() const {
    const std::lock_guard lock(mutex_);
    return runs_.size();
  }

  // The kept run with the same definition, or null. It stays where it is.
  const run_record* find(const run_definition& wanted) const {
    const std::lock_guard lock(mutex_);
    const auto it = runs_.find(key(wanted));
    return it == runs_.end() ? nullptr : &it->second;
  }

  // The line is on the disk, whole, when this returns. Throws std::runtime_error if it is not.
  void append(const run_record& r) {
    const std::string line = to_line(r) + "\n";
    const std::lock_guard lock(mutex_);
    if (std::fwrite(line.data(), 1, line.size(), file_.get()) != line.size() ||
        std::fflush(file_.get()) != 0 || ::fsync(::fileno(file_.get())) != 0) {
      fail("write to");
    }
    runs_.insert_or_assign(key(r), r);
  }

 private:
  struct closer {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };

  [[noreturn]] void fail(const std::string& action) const {
    const int code = errno;
    throw std::runtime_error("cannot " + action + " " + path_.string() + ": " +
                             std::generic_category().message(code));
  }

  std::filesystem::path path_;
  std::unique_ptr<std::FILE, closer> file_;
  std::string note_;
  mutable std::mutex mutex_;
  std::map<std::string, run_record> runs_;  // a node never moves
};

}  // namespace studies::common
