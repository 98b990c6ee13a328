// What every command does: layers on a few threads with progress, and the report at the end.
#pragma once
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <preheat/peft/passed_through.hpp>
#include <preheat/peft/writer.hpp>

#include "apps/console/pool.hpp"
#include "apps/console/progress.hpp"
#include "factors.hpp"
#include "outputs.hpp"
#include "report.hpp"

namespace apps::adapter {

// The options that every command has.
struct common_options {
  std::filesystem::path out;
  std::optional<safetensors::dtype> stored;  // of what is written; empty: the input's
  int threads = 1;
  std::uint64_t seed = 0;
  bool dry_run = false;
  std::filesystem::path json;  // a report as JSON; empty: none
};

inline void check_outputs(const common_options& o) {
  if (!o.out.empty()) {
    check_target(o.out);
  }
  if (!o.json.empty()) {
    check_target(o.json);
    refuse_if(o.out == o.json, "--out and --json are the same, " + o.out.string());
  }
}

// Whether an adapter goes into a single file although its source is a PEFT folder: by the name.
inline bool as_single_file(const common_options& o) {
  return o.out.extension() == ".safetensors";
}

// Reads every tensor of an adapter, as a dry run does, so that it fails where the run would.
inline void require_all_sound(const peft::reader& adapter) {
  for (const auto& entry : adapter.files().tensors()) {
    peft::require_sound(adapter.files(), entry.first);
  }
}
inline void require_all_sound(const std::vector<peft::reader>& adapters) {
  for (const peft::reader& a : adapters) {
    require_all_sound(a);
  }
}

// Ctrl-C, or another polite request to stop.
struct interrupted : std::runtime_error {
  interrupted() : std::runtime_error("interrupted; nothing was written") {}
};

// job(i) for every layer, on `threads` threads: the library's products run on one thread each, so that
// there is one pool and not two. name(i) is shown beside the progress.
template <class Name, class Job>
void for_each_layer(int threads, std::size_t count, const Name& name, const Job& job) {
  use_one_blas_thread();
  console::progress_bar bar;
  bar.grow(count);
  const bool all = console::run_jobs(threads, count, [&](std::size_t i) {
    job(i);
    bar.advance(name(i));
  });
  if (!all) {
    throw interrupted();
  }
}

// Calls run(std::type_identity<T>) with the type to compute in: double if a factor is stored so,
// else float.
template <class Run>
void with_scalar(const std::vector<const peft::reader*>& adapters, const Run& run) {
  for (const peft::reader* a : adapters) {
    for (const peft::adapter_layer& l : a->layers()) {
      if (a->files().info(l.A).type == safetensors::dtype::F64 ||
          a->files().info(l.B).type == safetensors::dtype::F64) {
        run(std::type_identity<double>{});
        return;
      }
    }
  }
  run(std::type_identity<float>{});
}

// Prints as a command goes, and gathers the report.
class reporter {
 public:
  reporter(std::string command, const common_options& options)
      : command_(std::move(command)), options_(options) {}

  void line(const std::string& key, const std::string& text) {
    say(fmt::format("{:<6} {}\n", key, text));
    report_[key].push_back(text);
  }
  void read(const peft::reader& adapter) { line("read", describe(adapter)); }

  // The plan of a command that writes an adapter.
  void wrote(const peft::adapter_plan& plan) {
    std::set<double> ranks;
    std::set<double> scales;
    for (const peft::planned_layer& p : plan.layers) {
      ranks.insert(double(p.layer.rank));
      scales.insert(p.layer.scaling);
    }
    const bool root = plan.config && plan.config->rslora();
    line(options_.dry_run ? "would" : "wrote",
         fmt::format("{}{}: {} layers of rank {}, s = {} = {}, α = {}, {}",
                     options_.dry_run ? "write " : "", options_.out.string(), plan.layers.size(),
                     range_text(ranks), root ? "α/√r" : "α/r", range_text(scales),
                     plan.config ? range_text(alphas(plan)) : "in the file",
                     size_text(peft::bytes_of(plan))));
  }

  // The table, the JSON file, the time.
  void finish(const std::vector<layer_result>& results) {
    if (!results.empty()) {
      say("\n" + results_table(results));
      report_["layers"] = as_json(results);
    }
    finish();
  }
  void finish() {
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begun_).count();
    say(fmt::format("{}done in {:.2f} s\n", options_.dry_run ? "nothing written; " : "", seconds));
    if (!options_.json.empty()) {
      report_["command"] = command_;
      report_["seconds"] = seconds;
      write_json(options_.json, report_);
    }
  }
  nlohmann::ordered_json& json() { return report_; }

 private:
  static std::set<double> alphas(const peft::adapter_plan& plan) {
    std::set<double> all;
    for (const peft::planned_layer& p : plan.layers) {
      all.insert(plan.config->alpha(p.layer.module));
    }
    return all;
  }

  std::string command_;
  const common_options& options_;
  nlohmann::ordered_json report_ = nlohmann::ordered_json::object();
  std::chrono::steady_clock::time_point begun_ = std::chrono::steady_clock::now();
};

// The relative error of all layers together.
inline void report_error_of(reporter& report, const std::vector<layer_result>& results) {
  double kept = 0;
  double all = 0;
  for (const layer_result& r : results) {
    kept += r.energy * r.norm * r.norm;
    all += r.norm * r.norm;
  }
  report.line("error", fmt::format("{:.3g} of the norm of all changes",
                                   all > 0 ? std::sqrt(std::max(0.0, 1 - kept / all)) : 0.0));
}

}  // namespace apps::adapter
