// preheat-finetune: from a model on the disk and a file of examples to an adapter that PEFT and llama.cpp
// load.
//
//   preheat-finetune SmolLM2-135M --data train.jsonl --method hrp --rank 16 --out adapter
//   mpirun -n 4 preheat-finetune …          # the processes share every batch
//   preheat-finetune --device cuda …        # becomes preheat-finetune-cuda (backend.hpp)
//   preheat-finetune generate SmolLM2-135M --adapter adapter --prompt 'energy:'
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <stdexcept>
#include <string_view>

#include <fmt/format.h>

#include "apps/console/pool.hpp"
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

// This process becomes the program that computes on a GPU, with the same words. Errors: std::exception: it
// is not there.
[[noreturn]] void hand_over(char** argv) {
  const std::filesystem::path place =
      std::filesystem::read_symlink("/proc/self/exe").parent_path() / "preheat-finetune-cuda";
  if (std::filesystem::exists(place)) {
    ::execv(place.c_str(), argv);
  }
  throw std::runtime_error(
      "--device cuda: cannot run " + place.string() +
      ", the program for a GPU. Where nvcc is, cmake -DPREHEAT_FINETUNE_CUDA=ON and the target "
      "preheat_finetune_cuda build it (docs/finetune.md)");
}

int run(const ft::parsed& wanted, const preheat::process_group& processes) {
  return wanted.training     ? ft::finetune(*wanted.training, processes)
         : wanted.generating ? ft::generate(*wanted.generating)
                             : wanted.exit_code;
}

}  // namespace

int main(int argc, char** argv) {
  apps::console::stop_on_signals();
  std::signal(SIGXFSZ, SIG_IGN);  // a file size limit is then an error like a full disk
  try {
    const ft::parsed wanted = ft::parse(argc, argv);
    if (wanted.on_gpu && !ft::computes_on_gpu) {
      hand_over(argv);
    }
    preheat::require(wanted.on_gpu == ft::computes_on_gpu,
                     "--device cpu: this program computes on a GPU, and preheat-finetune on a CPU");
#if defined(PREHEAT_MPI)
    if (preheat::comm::started_by_mpi()) {
      return preheat::comm::mpi_main(argc, argv, [&](preheat::comm::mpi& world) {
        if (world.rank() > 0 && std::freopen("/dev/null", "w", stdout) == nullptr) {
          throw std::runtime_error("cannot write to /dev/null");
        }
        return run(wanted, world);
      });
    }
#endif
    return run(wanted, {});
  } catch (const std::exception& error) {
    complain(error);
    return ft::failure_status;
  }
}
