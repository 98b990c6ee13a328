// ./run theory: what the theory of the initialization says, line by line, and what a simulation
// measures.
#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <filesystem>

#include <fmt/format.h>

#include "apps/console/gnuplot.hpp"
#include "apps/console/text_table.hpp"
#include "figures.hpp"
#include "statements.hpp"

namespace studies::theory {
namespace {

std::string short_number(double x) {
  return fmt::format("{:.6g}", x);
}

std::string table_of(const std::vector<check>& checks) {
  apps::console::table table({{"statement", apps::console::align::left},
                              {"formula", apps::console::align::left},
                              {"says"},
                              {"measured"},
                              {"deviation"},
                              {"allowed"},
                              {"", apps::console::align::left}});
  for (const check& c : checks) {
    table.add({c.statement, c.formula, short_number(c.says), short_number(c.measured),
               fmt::format("{:.1e}", c.deviation()), fmt::format("{:.0e}, {}", c.allowed, c.reason),
               c.holds() ? "holds" : "FAILS"});
  }
  return table.to_string();
}

std::string csv_of(const std::vector<check>& checks) {
  std::string text = "statement,formula,says,measured,deviation,allowed,holds\n";
  for (const check& c : checks) {
    text += fmt::format("\"{}\",\"{}\",{},{},{},{},{}\n", c.statement, c.formula, c.says,
                        c.measured, c.deviation(), c.allowed, int(c.holds()));
  }
  return text;
}

int run(const std::filesystem::path& out, const settings& s) {
  const auto started = std::chrono::steady_clock::now();
  const results all = all_statements(s);
  fmt::print("{}", table_of(all.checks));
  std::filesystem::create_directories(out);
  apps::console::write_file(out / "theory.csv", csv_of(all.checks));
  apps::console::write_file(out / "theory_curves.csv", csv_of(all.figures));
  const std::vector<apps::console::picture> pictures = pictures_of(all.figures);
  fmt::print("\n{}\nnumbers: {}\n", apps::console::draw_pictures(out / "plots", pictures),
             (out / "theory.csv").string());
  const auto failed = std::count_if(all.checks.begin(), all.checks.end(),
                                    [](const check& c) { return !c.holds(); });
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  fmt::print("{} of {} statements hold, {:.0f} s\n", all.checks.size() - std::size_t(failed),
             all.checks.size(), seconds);
  return failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace studies::theory

int main(int argc, char** argv) {
  CLI::App app{
      "What the theory of low-rank initialization says about ½‖W_init + B·A − W_target‖², and what "
      "a\n"
      "simulation measures: one line per statement. Exit code 1 if one fails.\n\n"
      "Examples:\n"
      "  ./run theory\n"
      "  ./run theory --draws 2000 --out /tmp/theory"};
  std::string out = "results/theory";
  studies::theory::settings s;
  app.add_option("--out", out, "Folder for theory.csv, theory_curves.csv and plots")
      ->capture_default_str();
  app.add_option("--draws", s.draws, "Random starts behind every mean")
      ->check(CLI::Range(40, 100000))
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    return studies::theory::run(out, s);
  } catch (const std::exception& e) {
    fmt::print(stderr, "theory: {}\n", e.what());
    return 2;
  }
}
