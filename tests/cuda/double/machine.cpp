#include "machine.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace cuda_double {

namespace {
constexpr std::size_t page = 4096;
constexpr std::size_t alignment = 256;        // of CUDA's allocations
constexpr unsigned char poison = 0xFF;        // NaN in every floating-point type
constexpr unsigned char canary = 0xA5;        // not NaN: arithmetic on NaN would leave no trace
constexpr std::size_t poison_most = 1 << 20;  // bytes at either end of a large block

std::size_t round_up(std::size_t n, std::size_t unit) {
  return (n + unit - 1) / unit * unit;
}

void say_and_end(int, siginfo_t* info, void*) {
  machine& m = machine::get();
  const std::string text =
      m.is_device(info->si_addr)
          ? "cuda_double: the host touched device memory: " + describe(info->si_addr) + "\n"
          : "cuda_double: segmentation fault, not in device memory\n";
  (void)!write(2, text.data(), text.size());
  _exit(99);
}
}  // namespace

void spoil(void* p, std::size_t bytes) {
  char* const c = static_cast<char*>(p);
  std::memset(c, poison, std::min(bytes, poison_most));
  if (bytes > poison_most) {
    std::memset(c + bytes - poison_most, poison, poison_most);
  }
}

machine& machine::get() {
  static machine* m = new machine;  // lives as long as the program, whatever is destroyed last
  return *m;
}

machine::machine() {
  file_ = memfd_create("cuda_double", 0);
  if (file_ < 0 || ftruncate(file_, off_t(arena_bytes)) != 0) {
    std::perror("cuda_double: memory");
    std::abort();
  }
  const auto map = [&](int access) {
    void* p = mmap(nullptr, arena_bytes, access, MAP_SHARED | MAP_NORESERVE, file_, 0);
    if (p == MAP_FAILED) {
      std::perror("cuda_double: memory");
      std::abort();
    }
    return static_cast<char*>(p);
  };
  device_ = map(PROT_NONE);
  alias_ = map(PROT_READ | PROT_WRITE);
  now.when = default_schedule();
  if (const char* devices = std::getenv("PREHEAT_CUDA_DEVICES")) {
    now.devices = std::atoi(devices);
  }
  struct sigaction action {};
  action.sa_sigaction = say_and_end;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGSEGV, &action, nullptr);
}

void machine::reset(settings s) {
  for (const auto& [pages, b] : blocks) {
    fallocate(file_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, b.pages - device_,
              off_t(b.page_bytes));
  }
  blocks.clear();
  bytes_alive = 0;
  for (stream* x : streams) {
    delete x;
  }
  streams.clear();
  events.clear();
  pinned.clear();
  handles.clear();
  graphs.clear();
  default_stream.work.clear();
  violations.clear();
  calls_by_name.clear();
  fail_by_name.clear();
  info_by_name.clear();
  calls = fail_in = fail_work_in = 0;
  broken = false;
  cublas_workspace = 0;
  next_number_ = 1;
  now = s;
}

block* machine::find(const void* p) {
  auto i = blocks.upper_bound(static_cast<const char*>(p));
  if (i == blocks.begin()) {
    return nullptr;
  }
  block& b = std::prev(i)->second;
  return p < b.pages + b.page_bytes ? &b : nullptr;
}

void* machine::allocate(std::size_t bytes, stream& s) {
  expect(s.captured == nullptr, "memory is allocated while the stream captures");
  if (bytes_alive + bytes > now.memory) {
    throw refusal{2};  // cudaErrorMemoryAllocation
  }
  if (bytes == 0) {
    return nullptr;
  }
  // The end of the block touches the guard page behind it, as far as its alignment allows.
  const std::size_t rounded = round_up(bytes, alignment);
  const std::size_t page_bytes = round_up(rounded, page);
  char* const pages = device_ + used_ + page;
  used_ += page + page_bytes;
  if (used_ + page > arena_bytes) {
    throw refusal{2};
  }
  char* const data = pages + page_bytes - rounded;
  block b{next_number_++, data, bytes, pages, page_bytes, &s};
  blocks.emplace(pages, b);
  bytes_alive += bytes;
  char* const mine = alias_ + (pages - device_);
  std::memset(mine, canary, std::size_t(data - pages));
  std::memset(mine + (data - pages) + bytes, canary, rounded - bytes);
  char* const body = alias_ + (data - device_);
  enqueue(s, [this, pages, body, bytes] {
    blocks.at(pages).born = true;
    spoil(body, bytes);
  });
  return data;
}

void machine::check_guards(const block& b) {
  const auto* mine = reinterpret_cast<const unsigned char*>(alias_ + (b.pages - device_));
  const std::size_t before = std::size_t(b.data - b.pages);
  const auto intact = [](unsigned char c) { return c == canary; };
  if (!std::all_of(mine, mine + before, intact) ||
      !std::all_of(mine + before + b.bytes, mine + b.page_bytes, intact)) {
    violations.push_back("a kernel wrote beside " + describe(b.data));
  }
}

void machine::release(void* p, stream& s) {
  expect(s.captured == nullptr, "memory is freed while the stream captures");
  block* b = find(p);
  const auto fault = [&](const char* what) { return [=] { return what + describe(p); }; };
  expect(b != nullptr && b->data == p, fault("this is no start of a block: "));
  expect(b->now == block::state::alive, fault("a second time: "));
  expect(b->from == &s, fault("on another stream than that of its allocation: "));
  b->now = block::state::to_be_freed;
  bytes_alive -= b->bytes;
  enqueue(s, [this, key = b->pages] {
    block& dead = blocks.at(key);
    check_guards(dead);
    dead.now = block::state::freed;
    fallocate(file_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, dead.pages - device_,
              off_t(dead.page_bytes));
  });
}

void* machine::reach(const void* p, std::size_t bytes, const char* what) {
  if (bytes == 0) {
    return nullptr;
  }
  expect(p != nullptr, what, " is null");
  expect(is_device(p), what, " is memory of the host");
  const block* b = find(p);
  expect(b != nullptr, what, " is in no block");
  expect(b->now != block::state::freed, [&] { return what + (" was freed: " + describe(p)); });
  expect(!running_ || b->born, what, " is used before its stream has allocated it");
  const auto* c = static_cast<const char*>(p);
  expect(c >= b->data && c + bytes <= b->data + b->bytes,
         [&] { return what + (" needs " + std::to_string(bytes)) + " bytes at " + describe(p); });
  return alias_ + (c - device_);
}

stream& machine::find_stream(void* s) {
  if (s == nullptr) {
    return default_stream;
  }
  auto* x = static_cast<stream*>(s);
  expect(streams.count(x) == 1, "no such stream");
  return *x;
}
void machine::enqueue(stream& s, std::function<void()> work) {
  if (s.captured != nullptr) {
    s.captured->push_back(std::move(work));
    return;
  }
  s.work.push_back(std::move(work));
  if (now.when == schedule::eager) {
    run(s);
  }
}
void machine::run(stream& s) {
  while (!s.work.empty()) {
    run_next(s);
  }
}
void machine::run_until(const event& e, long moment) {
  while (e.reached < moment && streams.count(e.of) == 1 && !e.of->work.empty()) {
    run_next(*e.of);
  }
}
void machine::run_next(stream& s) {
  const std::function<void()> work = std::move(s.work.front());
  s.work.pop_front();
  if (fail_work_in > 0 && --fail_work_in == 0) {
    broken = true;
  }
  const bool inside_other = running_;
  running_ = true;
  try {
    work();
  } catch (const misuse& e) {
    violations.push_back(std::string("on the device: ") + e.what());
    broken = true;
  }
  running_ = inside_other;
}

// The blocks that exist when a kernel runs, among those to which its bytes point.
std::vector<block*> machine::blocks_of(const std::vector<char>& functor) {
  std::vector<block*> found;
  for (std::size_t i = 0; i + sizeof(void*) <= functor.size(); i += sizeof(void*)) {
    void* p = nullptr;
    std::memcpy(&p, functor.data() + i, sizeof p);
    block* const b = is_device(p) ? find(p) : nullptr;
    if (b != nullptr && b->born && b->now != block::state::freed) {
      found.push_back(b);
    }
  }
  return found;
}
void machine::run_kernel(const std::vector<char>& functor, const std::function<void()>& f) {
  const auto mine = blocks_of(functor);
  for (const block* b : mine) {
    mprotect(b->pages, b->page_bytes, PROT_READ | PROT_WRITE);
  }
  f();
  for (const block* b : mine) {
    mprotect(b->pages, b->page_bytes, PROT_NONE);
  }
}

const int* machine::failure(const char* name, const int& usual) {
  ++calls;
  ++calls_by_name[name];
  if (fail_in > 0 && --fail_in == 0) {
    return &usual;
  }
  const auto i = fail_by_name.find(name);
  if (i != fail_by_name.end() && i->second.in > 0 && --i->second.in == 0) {
    return &i->second.code;
  }
  return nullptr;
}
int machine::info_of(const char* name) {
  const auto i = info_by_name.find(name);
  return i == info_by_name.end() ? 0 : i->second;
}

schedule default_schedule() {
  const char* name = std::getenv("PREHEAT_CUDA_SCHEDULE");
  return name != nullptr && std::string(name) == "lazy" ? schedule::lazy : schedule::eager;
}
void reset(settings s) {
  machine::get().reset(s);
}
long alive() {
  const machine& m = machine::get();
  const auto is_alive = [](const auto& b) { return b.second.now == block::state::alive; };
  return long(std::count_if(m.blocks.begin(), m.blocks.end(), is_alive)) + long(m.streams.size()) +
         long(m.handles.size()) + long(m.events.size()) + long(m.pinned.size()) +
         long(m.graphs.size());
}
const std::vector<std::string>& violations() {
  return machine::get().violations;
}
long calls() {
  return machine::get().calls;
}
long calls(const std::string& name) {
  const auto& by_name = machine::get().calls_by_name;
  const auto i = by_name.find(name);
  return i == by_name.end() ? 0 : i->second;
}
long pending() {
  long pieces = 0;
  for (const stream* s : machine::get().streams) {
    pieces += long(s->work.size());
  }
  return pieces;
}
std::size_t cublas_workspace() {
  return machine::get().cublas_workspace;
}
void fail_call(long n) {
  machine::get().fail_in = n;
}
void fail_call_of(const std::string& name, long n, int code) {
  machine::get().fail_by_name[name] = {n, code};
}
void fail_info_of(const std::string& name, int info) {
  machine::get().info_by_name[name] = info;
}
void fail_work(long n) {
  machine::get().fail_work_in = n;
}

std::string describe(const void* p) {
  machine& m = machine::get();
  if (!m.is_device(p)) {
    return "memory of the host";
  }
  const block* b = m.find(p);
  if (b == nullptr) {
    return "device memory, in no block";
  }
  return "block " + std::to_string(b->number) + " of " + std::to_string(b->bytes) + " bytes" +
         (b->now == block::state::alive ? "" : ", freed") + ", at byte " +
         std::to_string(static_cast<const char*>(p) - b->data);
}

}  // namespace cuda_double
