// What a command reports: what it read and wrote, a table by layer type, and the same as JSON.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <preheat/files/text_file.hpp>
#include <preheat/peft/reader.hpp>

#include "apps/console/text_table.hpp"

namespace apps::adapter {

using preheat::index_t;
namespace files = preheat::files;
namespace peft = preheat::peft;
namespace safetensors = preheat::safetensors;

// Where the text of this thread's command goes; null: standard output.
inline thread_local std::string* said = nullptr;

// Text to standard output. If nobody reads it any more (`| head`), the work goes on without.
inline void say(const std::string& text) {
  if (said != nullptr) {
    *said += text;
    return;
  }
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

// What came of one layer.
struct layer_result {
  std::string module;
  index_t out = 0;
  index_t in = 0;
  index_t rank_before = 0;
  index_t rank = 0;
  double scaling = 1;
  double norm = 0;      // ‖ΔW‖ before
  double energy = NAN;  // the part of ‖ΔW‖² that is kept
};

// The name of a module behind its last number: "self_attn.q_proj" of "model.layers.3.self_attn.q_proj".
// In kohya's names the parts are joined by "_".
inline std::string layer_type(std::string_view module) {
  const auto separates = [&](std::size_t i) { return module[i] == '.' || module[i] == '_'; };
  std::size_t begin = 0;
  for (std::size_t i = 0; i + 1 < module.size(); ++i) {
    if (i > 0 && !separates(i - 1)) {
      continue;
    }
    std::size_t end = i;
    while (end < module.size() && module[end] >= '0' && module[end] <= '9') {
      ++end;
    }
    if (end > i && end + 1 < module.size() && separates(end)) {
      begin = end + 1;
    }
  }
  return std::string(module.substr(begin));
}

// "2" if all are, else "0.5 … 2".
inline std::string range_text(const std::set<double>& values) {
  const auto text = [](double v) { return fmt::format("{:.6g}", v); };
  if (values.empty()) {
    return "–";
  }
  const std::string low = text(*values.begin());
  const std::string high = text(*values.rbegin());
  return low == high ? low : low + " … " + high;
}

inline std::string size_text(std::size_t bytes) {
  constexpr double unit = 1000;
  double value = double(bytes);
  for (const char* const name : {"B", "kB", "MB"}) {
    if (value < unit) {
      return fmt::format("{:.3g} {}", value, name);
    }
    value /= unit;
  }
  return fmt::format("{:.3g} GB", value);
}

// "warm: 224 layers of rank 128, s = α/r = 2, F32, 1.28 GB"
inline std::string describe(const peft::reader& adapter) {
  std::set<double> ranks;
  std::set<double> scales;
  std::set<std::string_view> types;
  std::size_t bytes = 0;
  for (const peft::adapter_layer& l : adapter.layers()) {
    ranks.insert(double(l.rank));
    scales.insert(l.scaling);
    types.insert(safetensors::name_of(adapter.files().info(l.A).type));
    bytes += adapter.files().info(l.A).bytes.size() + adapter.files().info(l.B).bytes.size();
  }
  std::string all_types;
  for (const std::string_view type : types) {
    all_types += (all_types.empty() ? "" : " ") + std::string(type);
  }
  const bool root = adapter.is_folder() && adapter.config().rslora();
  std::string text = fmt::format(
      "{}: {} {} of rank {}, s = {} = {}, {}, {}", adapter.path().string(), adapter.layers().size(),
      adapter.layers().size() == 1 ? "layer" : "layers", range_text(ranks), root ? "α/√r" : "α/r",
      range_text(scales), all_types, size_text(bytes));
  if (adapter.dora()) {
    text += ", DoRA";
  }
  if (adapter.is_folder() && adapter.config().init() != "true") {
    text += fmt::format(", init_lora_weights {}", adapter.config().init());
  }
  if (!adapter.is_folder() && !adapter.settings().empty()) {
    text += ", by " + adapter.settings().front().said_in;
  }
  if (!adapter.others().empty()) {
    text += fmt::format("; {} other tensors", adapter.others().size());
  }
  return text;
}

// A row for each layer type.
inline std::string results_table(const std::vector<layer_result>& results) {
  using console::align;
  struct row {
    std::set<std::string> shapes;
    std::set<double> before;
    std::set<double> after;
    std::set<double> scales;
    std::vector<double> energies;
    std::size_t count = 0;
  };
  std::map<std::string, row> rows;
  for (const layer_result& r : results) {
    row& to = rows[layer_type(r.module)];
    to.shapes.insert(fmt::format("{}×{}", r.out, r.in));
    to.before.insert(double(r.rank_before));
    to.after.insert(double(r.rank));
    to.scales.insert(r.scaling);
    to.energies.push_back(r.energy);
    ++to.count;
  }
  console::table t({{"layer type", align::left},
                    {"layers"},
                    {"out×in"},
                    {"rank before"},
                    {"rank"},
                    {"s"},
                    {"retained energy: mean"},
                    {"least"}});
  for (const auto& [type, r] : rows) {
    double sum = 0;
    double least = INFINITY;
    for (const double e : r.energies) {
      sum += e;
      least = std::min(least, e);
    }
    t.add({type, std::to_string(r.count),
           r.shapes.size() == 1 ? *r.shapes.begin() : fmt::format("{} shapes", r.shapes.size()),
           range_text(r.before), range_text(r.after), range_text(r.scales),
           console::fixed(sum / double(r.count), 4), console::fixed(least, 4)});
  }
  return t.to_string();
}

inline nlohmann::ordered_json finite_or_null(double value) {
  return std::isfinite(value) ? nlohmann::ordered_json(value) : nlohmann::ordered_json(nullptr);
}

inline nlohmann::ordered_json as_json(const std::vector<layer_result>& results) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const layer_result& r : results) {
    list.push_back({{"module", r.module},
                    {"out", r.out},
                    {"in", r.in},
                    {"rank_before", r.rank_before},
                    {"rank", r.rank},
                    {"scaling", r.scaling},
                    {"norm", finite_or_null(r.norm)},
                    {"retained_energy", finite_or_null(r.energy)}});
  }
  return list;
}

// Writes the file whole or not at all; an older one is replaced.
inline void write_json(const std::filesystem::path& path, const nlohmann::ordered_json& value) {
  files::write_text_file(path, value.dump(2) + "\n");
}

}  // namespace apps::adapter
