// The type list of the comparison, and how one run is made with the library.
#include "methods.hpp"

#include <time.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <tuple>
#include <utility>

#include <preheat/preheat.hpp>

namespace comparison {

using preheat::index_t;
using backend = preheat::cpu<float>;
using network = preheat::nn::mlp<backend>;
using batch = preheat::nn::labelled_batch<backend>;
using minibatches = preheat::nn::minibatches<backend>;

// A backend keeps nothing between calls, so all threads share one.
static backend be;

class pretrained_base {
 public:
  explicit pretrained_base(network n) : net(std::move(n)) {}
  network net;
};

namespace {

// ----------------------------------------------------------------------------------- the type list

// The rank at which a method trains about as many numbers as LoRA at rank r.
using rank_rule = int (*)(int r);
constexpr rank_rule same_rank = [](int r) { return r; };
constexpr rank_rule twice = [](int r) { return 2 * r; };              // one factor is trained
constexpr rank_rule half_more = [](int r) { return r + r / 2; };      // before a third is pruned
constexpr rank_rule twice_but_one = [](int r) { return 2 * r - 1; };  // one rank whole, others half

template <class Method>
struct row {
  std::string id;
  std::string name;
  std::string citation;
  family kind;
  Method method;
  rank_rule rank = same_rank;
};
template <class Method, class... Rule>
row(const char*, const char*, const char*, family, Method, Rule...) -> row<Method>;

namespace init = preheat::init;
namespace adapter = preheat::adapter;
namespace optim = preheat::optim;
using preheat::method;
using preheat::role;

// An epoch of the digits is 16 steps of 64: ALoRA's published phases, 1 and then ¼ epoch.
constexpr preheat::rank::ablation alora_phases{.first = 16, .every = 4, .rounds = 8};

// SoRA's published settings with a schedule.
constexpr optim::proximal<> sora_schedule{.base = {.weight_decay = 0.1},
                                          .eta = 1e-3,
                                          .xi = 0,
                                          .xi_last = 7e-4,
                                          .schedule = optim::xi_schedule::linear,
                                          .stages = 7};

using warm_train_b = method<adapter::asymmetric<role::B>, init::orthogonal, optim::sgd>;
using warm_classic = method<>;
using rac_lora_hrp =
    preheat::with<preheat::rac_lora_adamw, init::first_then<init::hrp<>, init::orthogonal>>;

// One row a method, each changed from LoRA in what it lists. Learning rates are set by the driver.
auto type_list() {
  using enum family;
  return std::tuple(
      row{"full", "full fine-tuning", "every weight and bias; the reference", reference,
          preheat::full_fine_tuning{}},
      row{"lora", "LoRA, Kaiming", "arXiv 2106.09685; PEFT's default init", random,
          preheat::lora{}},
      row{"gaussian", "LoRA, gaussian", "arXiv 2106.09685; PEFT's \"gaussian\", A ~ N(0, 1/r²)",
          random, preheat::lora_gaussian{}},
      row{"orthogonal", "LoRA, orthonormal", "A with orthonormal rows, uniformly drawn", random,
          preheat::lora_orthogonal{}},
      row{"pissa", "PiSSA", "arXiv 2404.02948; exact SVD", weight, preheat::pissa{}},
      row{"pissa_fast", "PiSSA, randomized", "arXiv 2404.02948; randomized SVD, 4 power iterations",
          weight, preheat::pissa_randomized{}},
      row{"hrp", "HRP", "arXiv 2502.07739; warm: train A, SGD, R = 16 r, 3 % of the steps",
          preheated, preheat::hrp<>{}},
      row{"hrp_train_b", "HRP, warm train B", "arXiv 2502.07739; warm: train B, SGD, left side",
          preheated, preheat::hrp<warm_train_b>{}},
      row{"hrp_classic", "HRP, warm classic", "arXiv 2502.07739; warm: LoRA, AdamW, right side",
          preheated, preheat::hrp<warm_classic>{}},
      row{"hrp_classic_left", "HRP, warm classic, left",
          "arXiv 2502.07739; warm: LoRA, AdamW, left side", preheated,
          preheat::hrp<warm_classic>{.init = {.side = preheat::side::left}}},
      row{"train_a", "train A", "asymmetric LoRA: B orthonormal and frozen", one_factor,
          preheat::lora_train_a{}},
      row{"train_b", "train B", "asymmetric LoRA: A orthonormal and frozen", one_factor,
          preheat::lora_train_b{}},
      row{"train_a_hrp", "train A, B from HRP", "arXiv 2502.07739; B frozen at HRP's directions",
          one_factor, method<adapter::asymmetric<role::A>, init::hrp<warm_train_b>>{}},
      row{"train_b_hrp", "train B, A from HRP", "arXiv 2502.07739; A frozen at HRP's directions",
          one_factor, method<adapter::asymmetric<role::B>, init::hrp<>>{}},
      row{"xgblora", "XGBLoRA, rank 1",
          "arXiv 2410.19694; boosters of 8 steps on all layers; rank 1 at any time, never LoRA's "
          "budget",
          chained, preheat::xgblora{}},
      row{"cola", "COLA", "arXiv 2401.04151; merged and drawn again every 25 steps", chained,
          preheat::cola{}},
      row{"rac_lora", "RAC-LoRA, SGD, 2r",
          "arXiv 2410.08305; train B, preconditioned SGD, blocks of 25 steps; rank 2r for LoRA's "
          "budget",
          chained, preheat::rac_lora{}, twice},
      row{"rac_lora_adamw", "RAC-LoRA, AdamW, 2r",
          "arXiv 2410.08305; train B, AdamW, blocks of 25 steps; rank 2r for LoRA's budget",
          chained, preheat::rac_lora_adamw{}, twice},
      row{"rac_lora_hrp", "RAC-LoRA, AdamW, HRP first",
          "the same with the first block's A from HRP (arXiv 2502.07739), charged", chained,
          rac_lora_hrp{}, twice},
      row{"lora_pro", "LoRA-Pro", "arXiv 2407.18242; AdamW with moments in m×n space", optimized,
          preheat::lora_pro{}},
      row{"lora_pro_sgd", "LoRA-Pro, SGD", "arXiv 2407.18242; plain SGD", optimized,
          preheat::lora_pro_sgd{}},
      row{"lora_pro_factored", "LoRA-Pro, factored",
          "arXiv 2407.18242, a third party's variant: AdamW factor by factor", optimized,
          preheat::lora_pro_factored{}},
      row{"lora_pro_late", "LoRA-Pro, factored, late",
          "the same after 10 steps of plain AdamW, when B is no longer near zero", optimized,
          preheat::lora_pro_factored{.optim = {.plain_steps = 10}}},
      row{"rm_lora", "RM-LoRA", "arXiv 2407.12074; λ 0.1, 2 of the ranks seen a step", optimized,
          preheat::rm_lora{}},
      row{"alora", "ALoRA",
          "arXiv 2403.16187; 1 epoch, then 8 rounds ¼ epoch apart, scored on the validation digits",
          structured, preheat::alora{.rank = alora_phases}},
      row{"prolora", "PRoLoRA, 2r−1",
          "arXiv 2402.16902; A and B shared twice, 1 rank unshared; rank 2r−1 for LoRA's budget",
          structured, preheat::prolora{.adapter = {.share_a = 2, .share_b = 2, .unshared = 1}},
          twice_but_one},
      row{"prilora", "PRILoRA",
          "arXiv 2401.11316; ranks from r/2 to 3r/2, half of A pruned every 40 steps", structured,
          preheat::prilora{}},
      row{"sora", "SoRA",
          "arXiv 2311.11696; η 1e-3, ξ from 0 to 7e-4 in 7 stages, decay 0.1; ranks can only fall",
          structured, preheat::sora{.optim = sora_schedule}});
}

// The other policies, one row each: run when they are named, or by --methods all.
auto further_list() {
  using enum family;
  return std::tuple(
      row{"peft_orthogonal", "LoRA, PEFT's orthogonal", "both factors set, product zero", random,
          preheat::lora_peft_orthogonal{}},
      row{"milora", "MiLoRA", "arXiv 2406.09044", weight, preheat::milora{}},
      row{"olora", "OLoRA", "arXiv 2406.01775", weight, preheat::olora{}},
      row{"mica", "MiCA", "PEFT's mica: B frozen at the minor left vectors", one_factor,
          preheat::mica{}},
      row{"kasa", "KaSA", "arXiv 2412.06071", structured, preheat::kasa{}},
      row{"lora_xs", "LoRA-XS", "arXiv 2405.17604; r×r numbers a layer, never LoRA's budget",
          weight, preheat::lora_xs{}},
      row{"loftq", "LoftQ", "arXiv 2310.08659; the base quantized to NF4", weight,
          preheat::loftq{}},
      row{"eva", "EVA", "arXiv 2410.07170; 8 batches, charged", preheated, preheat::eva{}},
      row{"corda", "CorDA, ipm", "arXiv 2406.05223; 8 batches, charged", preheated,
          preheat::corda{}},
      row{"corda_kpm", "CorDA, kpm", "arXiv 2406.05223; 8 batches, charged", preheated,
          preheat::corda{.init = {.mode = init::corda_mode::kpm}}},
      row{"lora_ga", "LoRA-GA", "arXiv 2407.05000, PEFT's form; 8 batches, charged", preheated,
          preheat::lora_ga<>{}},
      row{"lora_ga_sketched", "LoRA-GA, sketched",
          "the same, the gradient never held; 4 batches twice, charged", preheated,
          preheat::lora_ga<init::sketched_gradient>{.init = {.gradient = {.batches = 4}}}},
      row{"lora_one", "LoRA-One", "arXiv 2502.01235; 8 batches, charged", preheated,
          preheat::lora_one<>{}},
      row{"lora_one_sketched", "LoRA-One, sketched",
          "the same, the gradient never held; 4 batches twice, charged", preheated,
          preheat::lora_one<init::sketched_gradient>{.init = {.gradient = {.batches = 4}}}},
      row{"lora_sb", "LoRA-SB", "arXiv 2411.19557; r×r numbers a layer, never LoRA's budget",
          preheated, preheat::lora_sb{}},
      row{"dora", "DoRA", "arXiv 2402.09353; LoRA's budget and a magnitude a row", structured,
          preheat::dora{}},
      row{"lora_with_bias", "LoRA with a bias", "PEFT's lora_bias", structured,
          preheat::lora_with_bias{}},
      row{"lora_plus", "LoRA+", "arXiv 2402.12354; B at 16 times A's rate", optimized,
          preheat::lora_plus{}},
      row{"lora_fa", "LoRA-FA, 2r", "arXiv 2308.03303; A frozen; rank 2r for LoRA's budget",
          optimized, preheat::lora_fa{}, twice},
      row{"lora_scaled", "LoRA, scaled AdamW", "arXiv 2402.02347", optimized,
          preheat::lora_scaled{}},
      row{"adalora", "AdaLoRA, 3r/2 to r", "arXiv 2303.10512; penalty 0.5", structured,
          preheat::adalora{.optim = {.lambda = 0.5}}, half_more});
}

// The inits of product zero, again, at one row norm.
auto equal_norm_list(double norm) {
  using enum family;
  return std::tuple(
      row{"lora", "LoRA, Kaiming", "arXiv 2106.09685", random,
          preheat::lora{.init = {.row_norm = norm}}},
      row{"gaussian", "LoRA, gaussian", "arXiv 2106.09685", random,
          preheat::lora_gaussian{.init = {.row_norm = norm}}},
      row{"orthogonal", "LoRA, orthonormal", "orthonormal rows, uniformly drawn", random,
          preheat::lora_orthogonal{.init = {.row_norm = norm}}},
      row{"hrp", "HRP", "arXiv 2502.07739", preheated, preheat::hrp<>{.init = {.row_norm = norm}}},
      row{"hrp_train_b", "HRP, warm train B", "arXiv 2502.07739", preheated,
          preheat::hrp<warm_train_b>{.init = {.row_norm = norm}}},
      row{"hrp_classic", "HRP, warm classic", "arXiv 2502.07739", preheated,
          preheat::hrp<warm_classic>{.init = {.row_norm = norm}}},
      row{"hrp_classic_left", "HRP, warm classic, left", "arXiv 2502.07739", preheated,
          preheat::hrp<warm_classic>{.init = {.side = preheat::side::left, .row_norm = norm}}});
}

// --------------------------------------------------------------------------------------- one run

std::vector<index_t> widths() {
  return {pixels, 256, 256, classes};
}

batch to_batch(const samples& s) {
  batch b{be.zeros(pixels, index_t(s.count())), be.zeros(1, index_t(s.count()))};
  be.upload(s.X, b.X);
  const std::vector<float> labels(s.y.begin(), s.y.end());
  be.upload(labels, b.target);
  return b;
}

minibatches to_minibatches(const samples& s, int size) {
  batch all = to_batch(s);
  return minibatches(be, std::move(all.X), std::move(all.target), size);
}

struct score {
  double loss = not_a_number;  // mean cross-entropy
  double accuracy = not_a_number;
};

// From one forward pass; sums in double precision.
template <class Lin>
score evaluate(network& net, const samples& s, Lin& lin) {
  const batch all = to_batch(s);
  const std::vector<float> logits = be.download(net.forward(all.X, lin));
  double loss = 0;
  int right = 0;
  for (std::size_t j = 0; j < s.count(); ++j) {
    const float* const z = &logits[j * classes];
    const int best = int(std::max_element(z, z + classes) - z);
    right += best == s.y[j];
    double sum = 0;
    for (int c = 0; c < classes; ++c) {
      sum += std::exp(double(z[c]) - double(z[best]));
    }
    loss += std::log(sum) + double(z[best]) - double(z[s.y[j]]);
  }
  return {loss / double(s.count()), double(right) / double(s.count())};
}

// Processor time of this thread, which other programs on the machine do not lengthen.
double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return double(now.tv_sec) + 1e-9 * double(now.tv_nsec);
}

void put_scores(run_outcome& result, const score& validation, const score& test) {
  result.validation_loss = validation.loss;
  result.validation_accuracy = validation.accuracy;
  result.test_loss = test.loss;
  result.test_accuracy = test.accuracy;
}

// Bases differ in their data's order and start; runs on one base in their draws. The same (base,
// seed) gives all methods the same batches.
std::uint64_t run_seed(const run_definition& run) {
  return std::uint64_t(run.base) * 1000 + std::uint64_t(run.seed);
}

template <class Method>
run_outcome adapt(const row<Method>& r, const pretrained_base& base, const shift_data& data,
                  const training_settings& s, const run_definition& run) {
  Method m = r.method;
  const double started = thread_seconds();
  network net = base.net.copy();
  preheat::learning_rate(m.optim) = run.rate;
  const batch validation = to_batch(data.validation);
  const index_t warmup = index_t(std::lround(s.warmup * s.steps));
  const auto report = preheat::fit(m, net, to_minibatches(data.train, s.batch),
                                   {.rank = r.rank(std::max(1, run.rank)),
                                    .steps = s.steps,
                                    .seed = run_seed(run),
                                    .scaling = preheat::scaling::constant(s.scaling),
                                    .clamp_rank = true,
                                    .schedule = preheat::schedule::linear{.warmup = warmup},
                                    .evaluate_every = std::max(1, s.steps / s.curve_points)},
                                   validation);

  run_outcome result;
  result.status = preheat::to_string(report.status);
  result.trainable_parameters = long(report.trainable_parameters);
  result.evidence_steps = int(report.evidence_steps);
  for (const auto& layer : report.layers) {
    if (layer.clamped) {
      result.cut_layers += (result.cut_layers.empty() ? "" : ", ") + layer.name +
                           (layer.attached ? ": " + std::to_string(layer.rank) : std::string());
    }
  }
  for (const auto& point : report.evaluations) {
    const int step = int(report.evidence_steps + point.step);
    result.curve.push_back({step, point.loss});
    result.best_validation_loss = std::fmin(result.best_validation_loss, point.loss);
  }
  if (report.status == preheat::fit_status::completed) {
    auto adapted = preheat::attach(net, report);
    const score on_validation = evaluate(net, data.validation, adapted);
    put_scores(result, on_validation, evaluate(net, data.test, adapted));
    result.best_validation_loss = std::fmin(result.best_validation_loss, on_validation.loss);
    if (result.curve.empty() || result.curve.back().step < s.steps) {
      result.curve.push_back({s.steps, on_validation.loss});
    }
  }
  result.seconds = thread_seconds() - started;
  return result;
}

// The base as it is.
run_outcome leave_alone(const pretrained_base& base, const shift_data& data,
                        const training_settings&, const run_definition&) {
  const double started = thread_seconds();
  network net = base.net.copy();
  preheat::adapted<backend, adapter::lora> nothing_attached(net);
  run_outcome result;
  result.status = "completed";
  const score on_validation = evaluate(net, data.validation, nothing_attached);
  put_scores(result, on_validation, evaluate(net, data.test, nothing_attached));
  result.best_validation_loss = result.validation_loss;
  result.seconds = thread_seconds() - started;
  return result;
}

template <class Method>
method_entry to_entry(const row<Method>& r) {
  return {
      .id = r.id,
      .name = r.name,
      .citation = r.citation,
      .kind = r.kind,
      .has_rank = Method::adapter_type::has_factors,
      .has_rate = true,
      .run = [r](const pretrained_base& base, const shift_data& data, const training_settings& s,
                 const run_definition& run) { return adapt(r, base, data, s, run); }};
}

}  // namespace

// ---------------------------------------------------------------------------- what the driver sees

std::vector<method_entry> all_methods(double row_norm) {
  std::vector<method_entry> entries;
  entries.push_back({.id = "none",
                     .name = "no adaptation",
                     .citation = "the base as it was pretrained",
                     .kind = family::reference,
                     .has_rank = false,
                     .has_rate = false,
                     .run = leave_alone});
  std::apply([&](const auto&... r) { (entries.push_back(to_entry(r)), ...); }, type_list());
  const auto add_further = [&](method_entry e) {
    e.by_default = false;
    entries.push_back(std::move(e));
  };
  std::apply([&](const auto&... r) { (add_further(to_entry(r)), ...); }, further_list());
  if (row_norm > 0) {
    const auto add = [&](method_entry e) {
      e.id += "_norm";
      e.equal_norm = true;
      e.name += ", rows " + to_text(row_norm);
      e.citation += "; every direction of norm " + to_text(row_norm);
      entries.push_back(std::move(e));
    };
    std::apply([&](const auto&... r) { (add(to_entry(r)), ...); }, equal_norm_list(row_norm));
  }
  return entries;
}

std::shared_ptr<const pretrained_base> pretrain(const samples& upright, int seed,
                                                const training_settings& s) {
  network net(be, widths(), std::uint64_t(seed));
  const auto report = preheat::fit(preheat::full_fine_tuning{.optim = {.lr = s.pretraining_rate}},
                                   net, to_minibatches(upright, s.batch),
                                   {.steps = s.pretraining_steps, .seed = std::uint64_t(seed)});
  if (report.status != preheat::fit_status::completed) {
    throw std::runtime_error("the pretraining of base " + std::to_string(seed) +
                             " ended with: " + preheat::to_string(report.status));
  }
  preheat::merge(net, report);
  return std::make_shared<const pretrained_base>(std::move(net));
}

std::string fingerprint(const method_entry& m, const shift_data& data) {
  const training_settings few{.steps = 100, .batch = 4, .pretraining_steps = 1, .curve_points = 1};
  run_definition run;
  run.rank = 4;
  run.rate = 1e-2;
  const auto base = pretrain(data.pretrain, 0, few);
  return to_text(m.run(*base, data, few, run).validation_loss);
}

std::string to_text(const training_settings& s) {
  return "MLP 64-256-256-10 pretrained " + std::to_string(s.pretraining_steps) + " steps at " +
         to_text(s.pretraining_rate) + "; batch " + std::to_string(s.batch) + ", s " +
         to_text(s.scaling) + ", AdamW, linear schedule with warmup " + to_text(s.warmup) +
         ", curve of " + std::to_string(s.curve_points);
}

std::string describe_backend() {
  return be.describe();
}

std::string backend_hint() {
  if (describe_backend().find("Prescott") == std::string::npos) {
    return {};
  }
  return "this OpenBLAS does not know the processor and uses its slowest kernels; the environment "
         "variable OPENBLAS_CORETYPE=Haswell, or SkylakeX with AVX-512, doubles the speed";
}

void use_one_blas_thread() {
  preheat::set_blas_threads(1);
}

}  // namespace comparison
