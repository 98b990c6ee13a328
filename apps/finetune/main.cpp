// preheat-finetune: from a model on the disk and a file of examples to an adapter that PEFT and llama.cpp
// load.
//
//   preheat-finetune SmolLM2-135M --data train.jsonl --method hrp --rank 16 --out adapter
//   preheat-finetune generate SmolLM2-135M --adapter adapter --prompt 'energy:'
#include <csignal>
#include <exception>
#include <string_view>

#include <fmt/format.h>

#include "apps/console/pool.hpp"
#include "run.hpp"

int main(int argc, char** argv) {
  namespace ft = apps::finetune;
  apps::console::stop_on_signals();
  std::signal(SIGXFSZ, SIG_IGN);  // a file size limit is then an error like a full disk
  try {
    const ft::parsed wanted = ft::parse(argc, argv);
    return wanted.training     ? ft::finetune(*wanted.training)
           : wanted.generating ? ft::generate(*wanted.generating)
                               : wanted.exit_code;
  } catch (const std::exception& error) {
    std::string_view problem = error.what();
    constexpr std::string_view library = "preheat: ";
    problem.remove_prefix(problem.starts_with(library) ? library.size() : 0);
    fmt::print(stderr, "preheat-finetune: {}\n", problem);
    return ft::failure_status;
  }
}
