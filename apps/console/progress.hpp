// A line on the terminal that says how far the work is. Without a terminal on standard error it
// prints nothing.
#pragma once
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <mutex>
#include <string>

namespace apps::console {

// 75 -> "1:15", 3700 -> "1:01:40".
inline std::string clock_text(double seconds) {
  const long whole = std::lround(std::max(0.0, seconds));
  std::array<char, 32> text{};
  if (whole >= 3600) {
    std::snprintf(text.data(), text.size(), "%ld:%02ld:%02ld", whole / 3600, whole / 60 % 60,
                  whole % 60);
  } else {
    std::snprintf(text.data(), text.size(), "%ld:%02ld", whole / 60, whole % 60);
  }
  return text.data();
}

struct progress_state {
  std::size_t done = 0;   // kept runs included
  std::size_t kept = 0;   // of `done`, those that were there at the start: they took no time
  std::size_t total = 0;  // may grow
  double elapsed = 0;     // seconds
  std::string note;       // what to show at the end of the line
};

// The seconds the rest takes at the pace so far; negative while there is no pace to speak of.
inline double remaining_seconds(const progress_state& s) {
  const std::size_t worked = s.done - s.kept;
  return worked == 0 ? -1 : s.elapsed / double(worked) * double(s.total - s.done);
}

// "[#####.....]  12/240  0:21 elapsed, 1:12 left  a note"
inline std::string progress_line(const progress_state& s) {
  constexpr std::size_t width = 24;
  const std::size_t filled = s.total == 0 ? 0 : width * s.done / s.total;
  const double left = remaining_seconds(s);
  std::string line = "[";
  line.append(filled, '#');
  line.append(width - filled, '.');
  line += "]  " + std::to_string(s.done) + "/" + std::to_string(s.total);
  line += "  " + clock_text(s.elapsed) + " elapsed";
  if (left >= 0) {
    line += ", " + clock_text(left) + " left";
  }
  if (!s.note.empty()) {
    line += "  " + s.note;
  }
  return line;
}

// Threads may share it.
class progress_bar {
 public:
  explicit progress_bar(std::FILE* stream = stderr)
      : stream_(stream), visible_(::isatty(::fileno(stream)) != 0) {}
  progress_bar(const progress_bar&) = delete;
  progress_bar& operator=(const progress_bar&) = delete;
  ~progress_bar() { clear(); }

  // More to do, of which `kept` is there already.
  void grow(std::size_t more, std::size_t kept = 0) {
    const std::lock_guard lock(mutex_);
    state_.total += more;
    state_.done += kept;
    state_.kept += kept;
    draw();
  }
  void advance(const std::string& note) {
    const std::lock_guard lock(mutex_);
    ++state_.done;
    state_.note = note;
    draw();
  }
  // Takes the line off the terminal, so that something else can be printed there.
  void clear() {
    const std::lock_guard lock(mutex_);
    if (visible_) {
      std::fputs("\r\033[K", stream_);
      std::fflush(stream_);
    }
  }

 private:
  using clock = std::chrono::steady_clock;

  void draw() {
    if (!visible_) {
      return;
    }
    const clock::time_point now = clock::now();
    constexpr std::chrono::milliseconds shortest_pause{50};
    if (now - drawn_ < shortest_pause && state_.done < state_.total) {
      return;
    }
    drawn_ = now;
    state_.elapsed = std::chrono::duration<double>(now - begun_).count();
    const std::string line = cut(progress_line(state_), terminal_width() - 1);
    std::fprintf(stream_, "\r%s\033[K", line.c_str());
    std::fflush(stream_);
  }
  std::size_t terminal_width() const {
    winsize size{};
    const bool known = ::ioctl(::fileno(stream_), TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
    return known ? size.ws_col : 80;
  }
  // The first `width` characters of a UTF-8 text.
  static std::string cut(const std::string& text, std::size_t width) {
    std::size_t characters = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
      const bool begins = (static_cast<unsigned char>(text[i]) & 0xC0) != 0x80;
      if (begins && ++characters > width) {
        return text.substr(0, i);
      }
    }
    return text;
  }

  std::FILE* stream_;
  bool visible_;
  std::mutex mutex_;
  progress_state state_;
  clock::time_point begun_ = clock::now();
  clock::time_point drawn_{};
};

}  // namespace apps::console
