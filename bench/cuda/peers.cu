// The C++ half of `./run peers --gpu`: what bench/peers/peers.cpp is for the processor. It lives beside PyTorch on the
// same card and does one piece of work at a time. Each line of its input is a command, each is answered by one line; an
// error is "error MESSAGE".
//
//   about              what it runs on
//   precision WORD     fp32 or tf32: what products of floats are rounded to from now on; before prepare. The program
//                      that is compiled with PREHEAT_PEERS_BF16 computes in bf16 and has that word alone
//   prepare WORK FILE  reads the inputs of WORK (bench/peers/make_work.hpp)
//   check N            runs it N times, for its results
//   run N              runs it N times; prints the device's milliseconds of one run (stopwatch.hpp), and the clock's,
//                      of runs back to back
//   save FILE          writes the outputs of the last run
//   memory             bytes of the card that are in use, by whomever
//
// Without a device it says why and exits with 77.
#define PREHEAT_PEERS_CUDA
#include <chrono>
#include <cstdio>
#include <iostream>

#include "../peers/make_work.hpp"
#include "stopwatch.hpp"

namespace {

using namespace peers;

class session {
 public:
  session() { begin(false); }

  std::string answer(const std::string& line) {
    std::istringstream words(line);
    std::string command;
    words >> command;
    if (command == "about") {
      cudaDeviceProp card{};
      detail::check(cudaGetDeviceProperties(&card, 0), "cudaGetDeviceProperties");
      return std::string(card.name) + ", " + be_->describe();
    }
    if (command == "precision") {
      std::string word;
      words >> word;
#if defined(PREHEAT_PEERS_BF16)
      require(word == "bf16", "precision bf16");
#else
      require(word == "fp32" || word == "tf32", "precision fp32 or tf32");
#endif
      begin(word == "tf32");
      return "ok";
    }
    if (command == "prepare") {
      std::string name;
      words >> name;
      work_.reset();
      work_ = make_work(*be_, name, words);
      return "ready";
    }
    if (command == "check" || command == "run") {
      int count = 0;
      require(bool(words >> count) && count > 0, "run N, N >= 1");
      return command == "run" ? timed(count) : done(count);
    }
    if (command == "save") {
      std::string path;
      words >> std::ws;
      std::getline(words, path);
      outputs results(*be_);
      prepared().save(results);
      results.write(path);
      return "saved";
    }
    if (command == "memory") {
      std::size_t free = 0;
      std::size_t all = 0;
      detail::check(cudaMemGetInfo(&free, &all), "cudaMemGetInfo");
      return std::to_string(all - free);
    }
    throw invalid_argument("no command is called '" + command + "'");
  }

 private:
  void begin(bool tf32) {
    work_.reset();
    watch_.reset();
    be_ = std::make_unique<backend_type>(
        std::make_shared<const cuda_context>(cuda_options{.tf32 = tf32}));
    watch_ = std::make_unique<bench::stopwatch>(be_->context());
  }
  work& prepared() {
    require(work_ != nullptr, "prepare comes before run and save");
    return *work_;
  }
  std::string done(int count) {
    for (int i = 0; i < count; ++i) {
      prepared().reset();
      work_->run();
    }
    be_->context()->synchronize();
    return "done";
  }
  std::string timed(int count) {
    double device = 0;
    for (int i = 0; i < count; ++i) {
      prepared().reset();
      device += watch_->milliseconds([&] { work_->run(); });
    }
    be_->context()->synchronize();
    using clock = std::chrono::steady_clock;
    std::chrono::duration<double, std::milli> wall{};
    for (int i = 0; i < count; ++i) {
      work_->reset();
      const auto begun = clock::now();
      work_->run();
      be_->context()->synchronize();
      wall += clock::now() - begun;
    }
    return std::to_string(device / count) + " " + std::to_string(wall.count() / count);
  }

  std::unique_ptr<backend_type> be_;
  std::unique_ptr<bench::stopwatch> watch_;
  std::unique_ptr<work> work_;
};

}  // namespace

int main() {
  if (const std::string reason = why_no_cuda(); !reason.empty()) {
    std::printf("skipped: %s\n", reason.c_str());
    return 77;
  }
  session one;
  for (std::string line; std::getline(std::cin, line);) {
    try {
      std::cout << one.answer(line) << std::endl;
    } catch (const std::exception& problem) {
      std::cout << "error " << problem.what() << std::endl;
    }
  }
}
