// A step's passes as CUDA graphs: what `fit` asks of the device again and again is launched as one piece.
//
//   const auto context = std::make_shared<preheat::cuda_context>(preheat::cuda_options{.capture_steps = true});
//   preheat::cuda<float> be(context);
//   be.repeat([&] { /* zero gradients, forward, backward */ });  // fit does this
//
// The first run makes its calls and keeps a hash of each with all its arguments. The next one that makes the same
// calls is captured; later ones make none of them: they compare their calls with those captured, and launch the
// graph. So nothing goes stale: a buffer that has moved, another shape, a factor or a random key of this step is
// another argument, and the step is then computed call by call, observed and captured anew. One sequence of calls is
// kept for each shape of a batch, eight in all.
//
// Numbers of the host (token ids, labels) are no arguments: all that a graph needs go to one place on the device
// before it is launched, and the graph copies them from there.
//
// What no graph can hold (a wait for a result, memory, a factorization, another library) is done between two graphs.
// After sixteen runs in a row that were new or were interrupted by such a change, be.captured().refused says which call
// differs in every step, and steps are computed call by call from then on. Hashes have 64 bits; different arguments
// agree by chance once in 2⁶⁴.
//
// Cost: the host's part of a step without the runtime's; memory for the numbers of the host, once a shape.
#pragma once
#include <algorithm>
#include <cstdint>
#include <list>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "context.hpp"
#include "send.hpp"

namespace preheat {

// What became of the runs of be.repeat().
struct cuda_step_report {
  index_t observed = 0;  // computed call by call
  index_t captured = 0;  // captured, and then launched
  index_t repeated = 0;  // launched alone
  std::string refused;   // why steps are not captured any more; empty: they are
};

namespace detail {

// Ends a run whose calls turned out to differ from those of the graph after some of them were left out.
struct cuda_step_differs {};

class cuda_captured_steps final : public cuda_call_filter {
 public:
  explicit cuda_captured_steps(std::shared_ptr<const cuda_context> context)
      : context_(std::move(context)) {}
  cuda_captured_steps(const cuda_captured_steps&) = delete;
  cuda_captured_steps& operator=(const cuda_captured_steps&) = delete;
  ~cuda_captured_steps() { (void)cudaStreamSynchronize(context_->wanted_stream()); }

  const cuda_step_report& report() const { return report_; }

  // Runs f(), once or, where its calls differ late, twice.
  template <class F>
  void run(F& f) {
    if (!report_.refused.empty() || mode_ != mode::off) {  // f() may call repeat itself
      return f();
    }
    begin(known_.empty() ? nullptr : &known_.front());
    try {
      attempt(f);
    } catch (const cuda_step_differs&) {
      const sequence made = std::exchange(made_, {});
      begin(find(made, false));
      attempt(f);
    }
  }

  bool wants(const char* name, std::uint64_t arguments) override {
    follow(arguments | 1U, name);  // 0 is the end of a graph
    if (mode_ == mode::capturing) {
      start_capture();
    }
    return mode_ != mode::repeating;
  }
  bool takes(const void* numbers, std::size_t bytes, void* to) override {
    follow(hash_of_argument(to, bytes) | 1U, "numbers of the host");
    const std::size_t place = sent_.size();
    const auto* const from = static_cast<const char*>(numbers);
    sent_.insert(sent_.end(), from, from + bytes);
    sent_.resize((sent_.size() + alignment - 1) / alignment * alignment);
    if (mode_ == mode::capturing) {
      start_capture();
      check(cudaMemcpyAsync(to, static_cast<const char*>(now_->numbers.data()) + place, bytes,
                            cudaMemcpyDeviceToDevice, context_->wanted_stream()),
            "cudaMemcpyAsync");
    }
    return mode_ != mode::observing;
  }
  void leave() override {
    if (mode_ == mode::off || made_.empty() || made_.back() == end_of_graph) {
      return;
    }
    follow(end_of_graph, "the end of a graph");
    if (mode_ == mode::capturing) {
      finish_capture();
    }
    if (mode_ != mode::observing) {
      launch_graph();
    }
  }

 private:
  enum class mode { off, observing, capturing, repeating, differing };
  using sequence = std::vector<std::uint64_t>;
  using graph_handle = cuda_handle<cudaGraph_t, cudaGraphDestroy>;
  using executable = cuda_handle<cudaGraphExec_t, cudaGraphExecDestroy>;

  struct recording {
    sequence calls;
    std::list<executable> graphs;  // empty: only observed so far
    bool complete = false;         // all graphs are there
    cuda_memory numbers;           // of the host, for all graphs
  };

  static constexpr std::uint64_t end_of_graph = 0;
  static constexpr std::size_t alignment = 16;
  static constexpr std::size_t most_shapes = 8;
  static constexpr index_t most_failures = 16;

  // `like` has the calls that are expected; nullptr: nothing is known of them.
  void begin(recording* like) {
    made_.clear();
    sent_.clear();
    brought_ = 0;
    follow_on(like);
  }
  void follow_on(recording* like) {
    now_ = like;
    graph_ = 0;
    mode_ = like == nullptr ? mode::observing : like->complete ? mode::repeating : mode::capturing;
    if (mode_ == mode::capturing && !like->graphs.empty()) {  // of a run that went on otherwise
      check(cudaStreamSynchronize(context_->wanted_stream()), "cudaStreamSynchronize");
      like->graphs.clear();
    }
  }

  template <class F>
  void attempt(F& f) {
    struct scope {
      cuda_captured_steps& all;
      explicit scope(cuda_captured_steps& a) : all(a) { all.context_->set_filter(&all); }
      ~scope() { all.stop(); }
    } during(*this);
    f();
    context_->give_held();
    if (mode_ == mode::differing) {
      throw cuda_step_differs{};
    }
    leave();
    finish();
  }
  void stop() {
    context_->set_filter(nullptr);
    if (std::exchange(mode_, mode::off) == mode::differing) {
      context_->forget_held();
    }
    if (captures_) {  // an error ended f()
      captures_ = false;
      graph_handle unfinished;
      (void)cudaStreamEndCapture(context_->wanted_stream(), unfinished.address());
    }
  }

  // The next call of the run.
  void follow(std::uint64_t call, const char* name) {
    if (mode_ == mode::differing) {
      throw cuda_step_differs{};
    }
    made_.push_back(call);
    if (mode_ == mode::observing) {
      return;
    }
    const std::size_t at = made_.size() - 1;
    if (at < now_->calls.size() && now_->calls[at] == call) {
      return;
    }
    difference_ = "call " + std::to_string(at + 1) + ", " + name;
    if (mode_ == mode::capturing) {
      return leave_recording(at);
    }
    const bool left_out = at > 0 && made_[at - 1] != end_of_graph;
    recording* const other = find(made_, left_out);
    const std::ptrdiff_t passed = std::count(made_.begin(), made_.end() - 1, end_of_graph);
    const bool lacks_graphs = other != nullptr && !other->complete && passed > 0;
    if ((other == nullptr && left_out) || lacks_graphs) {
      mode_ = mode::differing;
      throw cuda_step_differs{};
    }
    follow_on(other);
    graph_ = std::size_t(passed);
  }
  // After call number `at` of a run that was being captured: if it is one of another shape, the run begins again; else
  // what was captured is computed, and the rest call by call.
  void leave_recording(std::size_t at) {
    recording* const other = find(made_, false);
    if (other != nullptr && at > 0) {
      mode_ = mode::differing;
      throw cuda_step_differs{};
    }
    if (captures_) {
      finish_capture();
      launch_graph();
    }
    follow_on(other);
  }
  // A recording that begins with these calls; the latest one used.
  recording* find(const sequence& calls, bool complete) {
    const auto found = std::find_if(known_.begin(), known_.end(), [&](const recording& r) {
      return (r.complete || !complete) && r.calls.size() >= calls.size() &&
             std::equal(calls.begin(), calls.end(), r.calls.begin());
    });
    return found == known_.end() ? nullptr : &*found;
  }

  void start_capture() {
    if (!captures_) {
      check(cudaStreamBeginCapture(context_->wanted_stream(), cudaStreamCaptureModeThreadLocal),
            "cudaStreamBeginCapture");
      captures_ = true;
    }
  }
  void finish_capture() {
    graph_handle graph;
    captures_ = false;
    check(cudaStreamEndCapture(context_->wanted_stream(), graph.address()), "cudaStreamEndCapture");
    now_->graphs.emplace_back();
    check(cudaGraphInstantiateWithFlags(now_->graphs.back().address(), graph, 0),
          "cudaGraphInstantiateWithFlags");
    graph_ = now_->graphs.size() - 1;
  }
  // Brings the numbers that the host has sent since the graph before, and launches the next one.
  void launch_graph() {
    char* const to = static_cast<char*>(now_->numbers.data());
    cuda_send_now(*context_, std::span<const char>(sent_).subspan(brought_), to + brought_);
    brought_ = sent_.size();
    check(cudaGraphLaunch(*std::next(now_->graphs.begin(), std::ptrdiff_t(graph_)),
                          context_->wanted_stream()),
          "cudaGraphLaunch");
    ++graph_;
  }

  void finish() {
    if (mode_ == mode::observing) {
      ++report_.observed;
      keep();
    } else {
      ++(mode_ == mode::capturing ? report_.captured : report_.repeated);
      failures_ = mode_ == mode::repeating ? 0 : failures_;
      now_->complete = true;
      const auto is_now = [&](const recording& r) { return &r == now_; };
      known_.splice(known_.begin(), known_, std::find_if(known_.begin(), known_.end(), is_now));
    }
  }
  void keep() {
    if (++failures_ > most_failures) {
      report_.refused =
          "every step makes other calls than those before; the last difference: " + difference_;
      known_.clear();
      return;
    }
    if (known_.size() == most_shapes) {
      context_->synchronize();  // its graphs have ended
      known_.pop_back();
    }
    known_.emplace_front();
    known_.front().calls = made_;
    if (!sent_.empty()) {
      known_.front().numbers = cuda_memory(sent_.size(), context_->wanted_stream());
    }
  }

  std::shared_ptr<const cuda_context> context_;
  std::list<recording> known_;  // the latest one used first
  cuda_step_report report_;
  index_t failures_ = 0;
  std::string difference_ = "none";

  // Of the run that goes on.
  mode mode_ = mode::off;
  recording* now_ = nullptr;  // whose calls it repeats
  sequence made_;
  std::vector<char> sent_;   // numbers of the host so far
  std::size_t brought_ = 0;  // of which so many bytes are on the device
  std::size_t graph_ = 0;    // the next one
  bool captures_ = false;
};

}  // namespace detail
}  // namespace preheat
