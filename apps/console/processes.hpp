// Independent jobs on several processes: the first hands them out, one at a time to whoever is idle,
// and takes the answers; every process works, the first on a thread of its own. A job and its answer
// are texts. See pool.hpp for threads alone.
//
//   if (world.rank() != 0) {
//     console::serve(world, work);                 // until dismissed
//   } else {
//     console::run_jobs(world, count, job, work, take);
//     console::dismiss(world);
//   }
//
// `world` is a comm::mpi, or anything with its rank, size, send and receive. Nobody waits busily: a
// process without work looks for some five thousand times a second.
#pragma once
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <exception>
#include <future>
#include <iostream>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "pool.hpp"

namespace apps::console {

// For processes other than the first: what the first one prints, and says of the command line, they do not
// repeat. Errors that they print by themselves still appear.
inline void leave_talking_to_the_first() {
  std::cerr.rdbuf(nullptr);  // CLI11's
  if (std::freopen("/dev/null", "w", stdout) == nullptr) {
    throw std::runtime_error("cannot write to /dev/null");
  }
}

namespace detail {
// The first character of a text says what it is.
inline constexpr char job_mark = 'j';
inline constexpr char answer_mark = 'a';
inline constexpr char error_mark = 'e';
inline constexpr char dismissal = 'd';

inline void rest_a_little() {
  std::this_thread::sleep_for(std::chrono::microseconds(200));
}
}  // namespace detail

// What a process other than the first does: answers every job by work(text), until it is dismissed.
// An exception of `work` is the first process's.
template <class World, class Work>
void serve(World& world, const Work& work) {
  while (true) {
    const auto message = world.receive();
    if (!message) {
      detail::rest_a_little();
      continue;
    }
    if (message->text.at(0) == detail::dismissal) {
      return;
    }
    std::string reply;
    try {
      reply = detail::answer_mark + work(message->text.substr(1));
    } catch (const std::exception& error) {
      reply = detail::error_mark + std::string(error.what());
    }
    world.send(message->from, reply);
  }
}

template <class World>
void dismiss(World& world) {
  for (int other = 1; other < world.size(); ++other) {
    world.send(other, std::string(1, detail::dismissal));
  }
}

// For the first process: calls take(i, work(*job(i))) for i = 0 … count − 1, each once, `work` in any
// of the processes and the others here, in an order that nobody should depend on. job(i) is a
// std::optional text: after one that is empty no further job is handed out, and those that have
// been finish. Once `stop` is set only the one in this process does. An exception of `work`, in
// whatever process, is thrown here. Returns whether every job was done.
template <class World, class Job, class Work, class Take>
bool run_jobs(World& world, std::size_t count, const Job& job, const Work& work, const Take& take,
              const std::atomic<bool>& stop = stop_requested) {
  std::vector<int> idle;
  for (int other = world.size() - 1; other >= 1; --other) {
    idle.push_back(other);
  }
  std::map<int, std::size_t> busy;  // the job of every other process that has one
  std::future<std::string> own;
  std::size_t own_job = 0;
  std::size_t next = 0;
  std::size_t done = 0;
  std::size_t last = count;  // that are handed out
  while (done < last && !stop) {
    while (next < last && (!idle.empty() || !own.valid())) {
      std::optional<std::string> text = job(next);
      if (!text) {
        last = next;
      } else if (!idle.empty()) {
        world.send(idle.back(), detail::job_mark + *text);
        busy[idle.back()] = next++;
        idle.pop_back();
      } else {
        own_job = next++;
        own = std::async(std::launch::async, [&work, mine = *text] { return work(mine); });
      }
    }

    bool news = false;
    if (own.valid() && own.wait_for(std::chrono::seconds(0)) == std::future_status::ready) {
      take(own_job, own.get());
      ++done;
      news = true;
    }
    while (const auto message = world.receive()) {
      const std::string text = message->text.substr(1);
      if (message->text[0] == detail::error_mark) {
        throw std::runtime_error("process " + std::to_string(message->from) + ": " + text);
      }
      take(busy.at(message->from), text);
      busy.erase(message->from);
      idle.push_back(message->from);
      ++done;
      news = true;
    }
    if (!news) {
      detail::rest_a_little();
    }
  }
  if (stop && done < last) {
    std::fprintf(stderr, "stopped: no further run is started; the finished ones are kept\n");
    if (own.valid()) {
      take(own_job, own.get());
    }
  }
  return done == count;
}

}  // namespace apps::console
