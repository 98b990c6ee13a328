// The command line of a program that compares methods on a grid of runs under a limit of time.
//
//   comparison_line<preset> line(words, reduced_preset, wanted);
//   line.app.add_option(…);                          // what only this study has
//   if (const auto status = line.parse(argc, argv, list, choose)) { return {.exit_code = *status}; }
//   wanted.amount = line.amount(reduced_preset, quick_preset, full_preset);
//
// A preset has the members ranks, seeds, rates, most_added_rates, steps, batch, minutes and sizes, with
// sizes.validation and sizes.test.
#pragma once
#include <algorithm>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include "apps/console/command_line.hpp"
#include "method_options.hpp"
#include "program_options.hpp"
#include "results.hpp"

namespace studies::common {

struct comparison_words {
  std::string program;      // "preheat-text"
  std::string description;  // of what it does
  std::string footer;       // examples
  std::string examples;     // what a batch is made of
  std::string quick;        // what --quick and --full mean
  std::string full;
  std::string data;  // the folder of --data
  std::string methods = "those not marked +";
  int least_steps = 4;
  int least_examples = 1;  // of validation and test
};

template <class Preset>
class comparison_line {
 public:
  comparison_line(const comparison_words& words, const Preset& usual, program_options& program)
      : app(words.description, words.program) {
    app.footer(words.footer);
    app.get_formatter()->column_width(26);
    given_.minutes = -1;
    program.threads = int(std::max(1u, std::thread::hardware_concurrency()));
    CLI::Option* const quick = app.add_flag("--quick", quick_, words.quick);
    app.add_flag("--full", full_, words.full)->excludes(quick);
    app.add_flag("--list", list_, "list the methods and exit");
    app.add_option("--methods", methods_, "names from --list, or all; default " + words.methods)
        ->delimiter(',')
        ->type_name("LIST");
    app.add_option("--ranks", given_.ranks,
                   "ranks of the adapters; default " + apps::console::joined(usual.ranks, ","))
        ->delimiter(',')
        ->type_name("LIST")
        ->check(CLI::Range(1, 256));
    number("--seeds", given_.seeds, usual.seeds, "")->check(CLI::Range(1, 1000));
    app.add_option("--lrs", given_.rates,
                   "learning rates; default " + apps::console::joined(usual.rates, ","))
        ->delimiter(',')
        ->type_name("LIST")
        ->check(CLI::Range(1e-8, 1e3));
    number("--steps", given_.steps, usual.steps, "training steps, everything charged; ")
        ->check(CLI::Range(words.least_steps, 1000000));
    number("--batch", given_.batch, usual.batch, words.examples + " in a batch; ")
        ->check(CLI::Range(1, 100000));
    number("--validation", given_.sizes.validation, usual.sizes.validation,
           "validation " + words.examples + "; ")
        ->check(CLI::Range(words.least_examples, 1000000));
    number("--test", given_.sizes.test, usual.sizes.test, "test " + words.examples + "; ")
        ->check(CLI::Range(words.least_examples, 1000000));
    number("--minutes", given_.minutes, usual.minutes,
           "leave out what would end later, and begin no such run; 0: no limit; ")
        ->type_name("X")
        ->check(CLI::Range(0.0, 1e6));
    app.add_option("--out", program.out, "where results are kept; default " + program.out)
        ->type_name("DIR");
    app.add_option("--data", program.data, words.data)->type_name("DIR");
    app.add_option("--threads", program.threads, "runs at a time; default one a processor")
        ->type_name("N")
        ->check(CLI::Range(1, 1024));
    app.add_flag("--no-report", no_report_, "tables only");
  }

  // An option of a number, whose default it says.
  template <class Number>
  CLI::Option* number(const std::string& name, Number& to, const Number& usual,
                      const std::string& what) {
    return app.add_option(name, to, fmt::format("{}default {}", what, usual))->type_name("N");
  }

  // Calls choose(names) with the methods that are named; it may throw CLI::ParseError. The exit status if there is nothing to run (--help, --list, a mistake): everything has been
  // printed then; list() prints the methods.
  template <class List, class Choose>
  std::optional<int> parse(int argc, const char* const* argv, const List& list,
                           const Choose& choose) {
    try {
      app.parse(argc, argv);
      if (list_) {
        list();
        return 0;
      }
      choose(methods_);
    } catch (const CLI::ParseError& error) {
      return app.exit(error) == 0 ? 0 : usage_status;
    }
    return {};
  }

  const Preset& preset_of(const Preset& reduced, const Preset& quick, const Preset& full) const {
    return quick_ ? quick : full_ ? full : reduced;
  }
  bool report() const { return !no_report_; }
  Preset& given() { return given_; }

  // The preset that is asked for, with what was given in its place.
  Preset amount(const Preset& reduced, const Preset& quick, const Preset& full) const {
    Preset wanted = preset_of(reduced, quick, full);
    take(wanted.ranks, given_.ranks, !given_.ranks.empty());
    take(wanted.seeds, given_.seeds, given_.seeds > 0);
    take(wanted.rates, given_.rates, !given_.rates.empty());
    take(wanted.steps, given_.steps, given_.steps > 0);
    take(wanted.batch, given_.batch, given_.batch > 0);
    take(wanted.sizes.validation, given_.sizes.validation, app.count("--validation") > 0);
    take(wanted.sizes.test, given_.sizes.test, app.count("--test") > 0);
    take(wanted.minutes, given_.minutes, given_.minutes >= 0);
    apps::console::sort_unique(wanted.rates);
    apps::console::sort_unique(wanted.ranks);
    return wanted;
  }
  template <class Value>
  static void take(Value& value, const Value& of_user, bool is_given) {
    if (is_given) {
      value = of_user;
    }
  }

  CLI::App app;

 private:
  Preset given_{};  // 0 or empty: the preset's
  std::vector<std::string> methods_;
  bool quick_ = false;
  bool full_ = false;
  bool list_ = false;
  bool no_report_ = false;
};

// Splits the methods into those that are asked for and the names of the others. Throws
// CLI::ValidationError for an unknown name.
template <class Entry>
void choose_methods(const std::vector<Entry>& known, const std::vector<std::string>& names,
                    bool everything, std::vector<Entry>& wanted,
                    std::vector<std::string>& left_out) {
  everything = asks_for_all(known, names) || everything;
  for (const Entry& m : known) {
    if (everything || is_wanted(m, names)) {
      wanted.push_back(m);
    } else {
      left_out.push_back(m.name);
    }
  }
}

}  // namespace studies::common
