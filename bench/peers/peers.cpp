// The C++ half of `./run peers`: a program that lives beside PyTorch and does one piece of work at a time. Each line
// of its input is a command, each is answered by one line; an error is "error MESSAGE".
//
//   about                  what it runs on
//   threads N              threads of the backend from now on, with one thread of the BLAS in each; before prepare
//   blas_threads N         the same the other way round: the BLAS's own threads under a backend of one
//   prepare WORK FILE      reads the inputs of WORK (see make_work); llama_extraction LAYERS THREADS instead of a file
//   run N                  runs it N times; prints CPU and wall milliseconds of one run
//   save FILE              writes the outputs of the last run
//   memory                 peak memory of this process so far, in bytes
//   peak                   the peak of one core in GFLOP/s, and the name of the loop that reached it (see peak.hpp)
#include <fstream>
#include <iostream>
#include <memory>
#include <sstream>

#include "clocks.hpp"
#include "make_work.hpp"
#include "peak.hpp"

namespace {

using namespace peers;

// Of this program alone: getrusage would count the process that started it, too.
std::int64_t peak_memory() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    if (word == "VmHWM:") {
      std::int64_t kibibytes = 0;
      status >> kibibytes;
      return 1024 * kibibytes;
    }
  }
  throw io_error("/proc/self/status has no VmHWM");
}

class session {
 public:
  std::string answer(const std::string& line) {
    std::istringstream words(line);
    std::string command;
    words >> command;
    std::ostringstream to;
    if (command == "about") {
      return be_.describe();
    }
    if (command == "threads" || command == "blas_threads") {
      const bool of_blas = command == "blas_threads";
      int threads = 0;
      require(bool(words >> threads) && threads > 0, "threads N, N >= 1");
      work_.reset();
      be_ = backend_type(of_blas ? 1 : threads);
      const bool told = set_blas_threads(of_blas ? threads : 1);
      return told ? "ok" : "the number of threads is not this BLAS's to set";
    }
    if (command == "prepare") {
      std::string name;
      words >> name;
      work_.reset();
      work_ = make_work(be_, name, words);
      return "ready";
    }
    if (command == "run") {
      int count = 0;
      require(bool(words >> count) && count > 0, "run N, N >= 1");
      return timed(count);
    }
    if (command == "save") {
      std::string path;
      words >> std::ws;
      std::getline(words, path);
      outputs results(be_);
      prepared().save(results);
      results.write(path);
      return "saved";
    }
    if (command == "memory") {
      return std::to_string(peak_memory());
    }
    if (command == "peak") {
      const measured_peak peak = peak_of_a_core();
      return std::to_string(peak.gflops) + " " + peak.loop;
    }
    throw invalid_argument("no command is called '" + command + "'");
  }

 private:
  work& prepared() {
    require(work_ != nullptr, "prepare comes before run and save");
    return *work_;
  }
  std::string timed(int count) {
    double cpu = 0;
    double wall = 0;
    for (int i = 0; i < count; ++i) {
      prepared().reset();
      const double cpu_begun = cpu_seconds();
      const double wall_begun = wall_seconds();
      prepared().run();
      wall += wall_seconds() - wall_begun;
      cpu += cpu_seconds() - cpu_begun;
    }
    return std::to_string(1e3 * cpu / count) + " " + std::to_string(1e3 * wall / count);
  }

  backend_type be_;
  std::unique_ptr<work> work_;
};

}  // namespace

int main() {
  session one;
  for (std::string line; std::getline(std::cin, line);) {
    try {
      std::cout << one.answer(line) << std::endl;
    } catch (const std::exception& problem) {
      std::cout << "error " << problem.what() << std::endl;
    }
  }
}
