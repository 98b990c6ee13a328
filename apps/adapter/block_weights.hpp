// --layers of a sum: other weights for the blocks of a model. The block of a module is the first number in
// its name, 3 in "model.layers.3.self_attn.q_proj" and in "lora_unet_down_blocks_3_proj".
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdlib>
#include <string>
#include <vector>

#include <preheat/files/strict_json.hpp>

#include "outputs.hpp"

namespace apps::adapter {

class block_weights {
 public:
  // Each "N=W" or "N-M=W". Errors: invalid_argument for anything else.
  explicit block_weights(const std::vector<std::string>& texts) {
    for (const std::string& text : texts) {
      range r;
      char* end = nullptr;
      const char* const begin = text.c_str();
      r.first = r.last = std::strtol(begin, &end, 10);
      bool good = end != begin && r.first >= 0;
      if (good && *end == '-') {
        const char* const second = end + 1;
        r.last = std::strtol(second, &end, 10);
        good = end != second && r.last >= r.first;
      }
      if (good && *end == '=') {
        const char* const weight = end + 1;
        r.weight = std::strtod(weight, &end);
        good = end != weight && *end == '\0' && std::isfinite(r.weight);
      } else {
        good = false;
      }
      refuse_if(!good,
                "--layers takes N=W or N-M=W, as 0-3=0.5, not " + preheat::files::in_quotes(text));
      ranges_.push_back(r);
    }
  }

  double of(const std::string& module) const {
    if (ranges_.empty()) {
      return 1;
    }
    const auto separates = [](char c) { return c == '.' || c == '_'; };
    const auto digit = [](char c) { return '0' <= c && c <= '9'; };
    for (std::size_t i = 0; i < module.size(); ++i) {
      if (!digit(module[i]) || (i > 0 && !separates(module[i - 1]))) {
        continue;
      }
      std::size_t end = i;
      while (end < module.size() && digit(module[end])) {
        ++end;
      }
      if (end < module.size() && !separates(module[end])) {
        continue;
      }
      const long block = std::strtol(module.c_str() + i, nullptr, 10);
      double weight = 1;
      for (const range& r : ranges_) {
        weight = r.first <= block && block <= r.last ? r.weight : weight;
      }
      return weight;
    }
    return 1;
  }

 private:
  struct range {
    long first = 0;
    long last = 0;
    double weight = 1;
  };
  std::vector<range> ranges_;
};

}  // namespace apps::adapter
