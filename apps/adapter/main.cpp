// preheat-adapter: Hugging Face PEFT adapters from the terminal. High-rank preheating between two runs,
// resizing and adding up, starts from the base's weights, conversion, merging, spectra.
//
//   preheat-adapter hrp warm --rank 8 --out start
//   preheat-adapter --help
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <functional>
#include <numeric>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <preheat/core/error.hpp>
#include <preheat/version.hpp>

#include "apps/console/pool.hpp"
#include "apps/console/supervised.hpp"
#include "command_line.hpp"
#include "outputs.hpp"

namespace {

using namespace apps::adapter;

constexpr int failure_status = 2;  // a mistaken command line, bad input, an interruption

constexpr const char* examples = R"(Examples:
  preheat-adapter hrp warm --rank 8 --out start          preheated at rank 128, go on at rank 8
  preheat-adapter reduce big --rank 16 --out small       the best rank-16 adapter
  preheat-adapter reduce big --energy 0.99 --out small   ranks per layer, as rank_pattern
  preheat-adapter reduce a b --weights 0.7 0.3 --rank 16 --out both
  preheat-adapter combine a b --type ties --density 0.5 --out both
  preheat-adapter extract tuned --base llama-7b --rank 16 --out lora    of a full fine-tune
  preheat-adapter convert trained --initial start --out plain    PiSSA, OLoRA, … to plain LoRA
  preheat-adapter merge adapter --base llama-7b --out merged        the model's folder; or merged.safetensors
  preheat-adapter inspect warm start --plot spectra.svg
  preheat-adapter COMMAND --help

DIR is a PEFT folder (adapter_config.json, adapter_model.safetensors) or a kohya .safetensors file; FILE of a base
is a .safetensors file, an index of shards, or a model's folder. Nothing is overwritten, and what is written
appears whole or not at all. Exit status: 0, or 2 with one line that says what is wrong.)";

// The command that was meant: the nearest by the number of letters to change.
std::string nearest_command(const CLI::App& app, const std::string& typed) {
  std::string nearest;
  std::size_t least = typed.size();
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    const std::string& name = command->get_name();
    std::vector<std::size_t> row(name.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t(0));
    for (std::size_t i = 0; i < typed.size(); ++i) {
      std::size_t diagonal = std::exchange(row[0], i + 1);
      for (std::size_t j = 0; j < name.size(); ++j) {
        const std::size_t changed = diagonal + (typed[i] == name[j] ? 0 : 1);
        diagonal = std::exchange(row[j + 1], std::min({row[j] + 1, row[j + 1] + 1, changed}));
      }
    }
    if (row.back() < least) {
      least = row.back();
      nearest = name;
    }
  }
  return nearest;
}

// Throws the error of a first word that is no command.
void check_command(const CLI::App& app, int argc, char** argv) {
  if (argc < 2 || argv[1][0] == '-' || argv[1] == std::string_view("help")) {
    return;
  }
  std::string names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (command->get_name() == argv[1]) {
      return;
    }
    if (!command->get_group().empty()) {
      names += (names.empty() ? "" : ", ") + command->get_name();
    }
  }
  const std::string nearest = nearest_command(app, argv[1]);
  throw preheat::invalid_argument("no command \"" + std::string(argv[1]) + "\"" +
                                  (nearest.empty() ? "" : ", do you mean " + nearest + "?") +
                                  " There are " + names);
}

int report_error(const std::exception& error) {
  std::string_view problem = error.what();
  constexpr std::string_view library = "preheat: ";
  problem.remove_prefix(problem.starts_with(library) ? library.size() : 0);
  fmt::print(stderr, "preheat-adapter: {}\n", problem);
  return failure_status;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app(
      "Hugging Face PEFT adapters: high-rank preheating, resizing, conversion, merging, spectra.",
      "preheat-adapter");
  app.require_subcommand(1);
  app.set_version_flag("--version", fmt::format("preheat-adapter {}.{}.{}", PREHEAT_VERSION_MAJOR,
                                                PREHEAT_VERSION_MINOR, PREHEAT_VERSION_PATCH));
  app.failure_message([](const CLI::App*, const CLI::Error& error) {
    std::string text = error.what();
    std::replace(text.begin(), text.end(), '\n', ' ');
    return fmt::format("preheat-adapter: {}; --help has examples\n", text);
  });
  std::function<void()> run;
  std::vector<std::filesystem::path> targets;
  describe_commands(app, run, targets);
  app.footer(examples);  // not of the commands, whose help it would end
  try {
    check_command(app, argc, argv);
    if (argc == 2 && argv[1] == std::string_view("help")) {
      app.parse("--help");
    }
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : failure_status;
  } catch (const std::exception& error) {
    return report_error(error);
  }
  const auto work = [&] {
    apps::console::stop_on_signals();
    std::signal(SIGXFSZ, SIG_IGN);  // a file size limit is then an error like a full disk
    std::signal(SIGPIPE, SIG_IGN);  // the work is done although nobody reads what is printed
    try {
      run();
      return 0;
    } catch (const std::exception& error) {
      return report_error(error);
    }
  };
  return apps::console::supervised(work, [&](pid_t killed) {
    for (const std::filesystem::path& target : targets) {
      clear_leftovers(target, killed);
    }
    fmt::print(stderr, "preheat-adapter: killed; nothing was written\n");
  });
}
