// The table of the results, and summary.csv.
#pragma once
#include <cmath>
#include <filesystem>
#include <fstream>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "apps/console/text_table.hpp"
#include "selection.hpp"

namespace studies::common {

// "0.812 ± 0.034", or "0.812 ± –" when there is no interval.
inline std::string with_interval(const estimate& e, int decimals) {
  return std::isfinite(e.mean) ? fixed(e.mean, decimals) + " ± " + fixed(e.half, decimals) : "–";
}

// The table of one shift at one rank. A * marks a best rate at the edge of the tried ones.
inline std::string summary_table(std::span<const summary_row> rows) {
  table t({{"method", align::left},
           {"best rate", align::right},
           {"test accuracy", align::right},
           {"gain over LoRA", align::right},
           {"test loss", align::right},
           {"trained", align::right},
           {"s/run", align::right}});
  for (const summary_row& row : rows) {
    std::string rate = "none: diverged";
    if (!row.failed) {
      rate = row.rate > 0 ? to_text(row.rate) + (row.at_edge ? "*" : " ") : "– ";
    }
    std::string gain = with_interval(row.gain, 3);
    if (std::isfinite(row.gain.mean) && gain[0] != '-') {
      gain.insert(0, 1, '+');
    }
    t.add({row.name, rate, with_interval(row.test_accuracy, 3), gain,
           with_interval(row.test_loss, 3), grouped(row.trainable_parameters),
           fixed(row.seconds, 2)});
  }
  return t.to_string();
}

// A text as a CSV field: in quotes if it has to be.
inline std::string csv_field(const std::string& text) {
  if (text.find_first_of(",\"\n") == std::string::npos) {
    return text;
  }
  std::string quoted = "\"";
  for (const char c : text) {
    quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  }
  return quoted + "\"";
}

// All rows, numbers in full, empty where there is none. Throws std::runtime_error if it cannot.
inline void write_summary(const std::filesystem::path& path, std::span<const summary_row> rows) {
  const auto number = [](double value) {
    return std::isfinite(value) ? to_text(value) : std::string();
  };
  std::ofstream file(path);
  file << "shift,rank,method,name,rate,rate_at_edge,bases,runs,validation_loss,"
          "test_accuracy,test_accuracy_half95,gain_over_lora,gain_over_lora_half95,"
          "test_loss,test_loss_half95,trainable_parameters,seconds_per_run\n";
  for (const summary_row& row : rows) {
    file << row.shift << ',' << row.rank << ',' << row.method << ',' << csv_field(row.name) << ','
         << number(row.rate) << ',' << (row.at_edge ? 1 : 0) << ',' << row.bases << ',' << row.runs
         << ',' << number(row.validation_loss) << ',' << number(row.test_accuracy.mean) << ','
         << number(row.test_accuracy.half) << ',' << number(row.gain.mean) << ','
         << number(row.gain.half) << ',' << number(row.test_loss.mean) << ','
         << number(row.test_loss.half) << ',' << row.trainable_parameters << ','
         << number(row.seconds) << '\n';
  }
  file.close();
  if (!file) {
    throw std::runtime_error("cannot write " + path.string());
  }
}

}  // namespace studies::common
