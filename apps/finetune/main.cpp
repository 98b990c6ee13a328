// preheat-finetune: from a model on the disk and a file of examples to an adapter that PEFT and llama.cpp
// load.
//
//   preheat-finetune SmolLM2-135M --data train.jsonl --method hrp --rank 16 --out adapter
//   mpirun -n 4 preheat-finetune …          # the processes share every batch
//   preheat-finetune --device cuda …        # becomes preheat-finetune-cuda (backend.hpp)
//   preheat-finetune --device cuda --bf16 … # becomes preheat-finetune-cuda-bf16
//   preheat-finetune generate SmolLM2-135M --adapter adapter --prompt 'energy:'
#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string_view>

#include <fmt/format.h>

#include "apps/console/other_program.hpp"
#include "apps/console/pool.hpp"
#include "apps/console/processes.hpp"
#include "run.hpp"
#if defined(PREHEAT_MPI)
#include <preheat/comm/mpi.hpp>
#endif

namespace {

namespace ft = apps::finetune;

void complain(const std::exception& error) {
  std::string_view problem = error.what();
  constexpr std::string_view library = "preheat: ";
  problem.remove_prefix(problem.starts_with(library) ? library.size() : 0);
  fmt::print(stderr, "preheat-finetune: {}\n", problem);
}

int run(int argc, char** argv, const preheat::process_group& processes) {
  const ft::parsed wanted = ft::parse(argc, argv);
  preheat::require(wanted.on_gpu == ft::computes_on_gpu,
                   "--device cpu: this program computes on a GPU, and preheat-finetune on a CPU");
  preheat::require(wanted.in_bf16 == ft::computes_in_bf16,
                   wanted.on_gpu
                       ? "--bf16 is for preheat-finetune-cuda-bf16, which needs it"
                       : "--bf16 is for --device cuda: on a CPU activations are floats; --storage "
                         "bf16 is for frozen weights");
  return wanted.training     ? ft::finetune(*wanted.training, processes)
         : wanted.generating ? ft::generate(*wanted.generating)
                             : wanted.exit_code;
}

}  // namespace

int main(int argc, char** argv) {
  apps::console::stop_on_signals();
  std::signal(SIGXFSZ, SIG_IGN);  // a file size limit is then an error like a full disk
  try {
    if (!ft::computes_on_gpu && apps::console::wants_gpu(argc, argv)) {
      const bool in_bf16 = std::find(argv, argv + argc, std::string_view("--bf16")) != argv + argc;
      apps::console::become(in_bf16 ? "preheat-finetune-cuda-bf16" : "preheat-finetune-cuda", argv,
                            "PREHEAT_FINETUNE_CUDA", "docs/finetune.md");
    }
#if defined(PREHEAT_MPI)
    if (preheat::comm::started_by_mpi()) {
      return preheat::comm::mpi_main(argc, argv, [&](preheat::comm::mpi& world) {
        if (world.rank() > 0) {
          apps::console::leave_talking_to_the_first();
        }
        return run(argc, argv, world);
      });
    }
#endif
    return run(argc, argv, {});
  } catch (const std::exception& error) {
    complain(error);
    return ft::failure_status;
  }
}
