// The LoRA of a full fine-tune: W' − W of two models, matrix by matrix, in the main singular triplets
// (convert/low_rank_difference.hpp), and the relative error, which is printed. Each thread has one matrix in memory.
//
// What a low rank does not hold, norms, biases and embeddings that changed, is left out and named, or taken
// whole by option: norms and embeddings as modules_to_save, biases as bias "all".
#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <preheat/convert/low_rank_difference.hpp>
#include <preheat/cpu/backend.hpp>
#include <preheat/peft/name_expression.hpp>

#include "base.hpp"
#include "commands.hpp"

namespace apps::adapter {
namespace {

// A matrix that changed, and its place in the plan.
struct changed_matrix {
  std::string module;
  index_t out = 0;
  index_t in = 0;
  bool turned = false;  // stored in×out
};

// What changed besides.
struct whole_tensor {
  std::string name;
  std::string module;
  std::string kind;  // "norms", "biases", "embeddings", "other tensors"
};

struct differences {
  std::vector<changed_matrix> matrices;
  std::vector<whole_tensor> others;
  std::size_t unchanged = 0;
};

std::string kind_of(const std::string& name, const safetensors::tensor_info& tensor,
                    const std::string& module) {
  if (is_embedding(module)) {
    return "embeddings";
  }
  if (name.ends_with(".bias")) {
    return "biases";
  }
  return tensor.shape.size() == 1 ? "norms" : "other tensors";
}

bool same_bytes(const safetensors::tensor_files& a, const safetensors::tensor_files& b,
                const std::string& name) {
  const bool same = a.info(name).type == b.info(name).type &&
                    std::ranges::equal(a.info(name).bytes, b.info(name).bytes);
  a.release(name);
  b.release(name);
  return same;
}

// Errors: a tensor that only one of the models has, or with other shapes.
differences compare(const extract_options& o, const base_model& tuned, const base_model& base) {
  const safetensors::tensor_files& now = tuned.tensors();
  const safetensors::tensor_files& then = base.tensors();
  for (const auto* const pair : {&now, &then}) {
    const safetensors::tensor_files& other = pair == &now ? then : now;
    for (const auto& entry : pair->tensors()) {
      if (!other.contains(entry.first)) {
        throw preheat::invalid_argument(
            pair->source().string() + ": " + other.source().string() + " has no tensor \"" +
            entry.first + "\"" + safetensors::detail::similar_names(other.tensors(), entry.first));
      }
    }
  }
  std::optional<peft::name_expression> targets;
  if (!o.targets.empty()) {
    targets.emplace(o.targets);
  }
  differences found;
  for (const auto& [name, tensor] : now.tensors()) {
    const safetensors::tensor_info& before = then.info(name);
    if (tensor.shape != before.shape) {
      throw preheat::invalid_argument(
          "tensor \"" + name + "\" is " + safetensors::shape_text(tensor.shape) + " in " +
          now.source().string() + " and " + safetensors::shape_text(before.shape) + " in " +
          then.source().string());
    }
    if (same_bytes(now, then, name)) {
      ++found.unchanged;
      continue;
    }
    require_weight(now, name);
    require_weight(then, name);
    constexpr std::string_view ending = ".weight";
    const std::size_t dot = name.rfind('.');
    const std::string module = dot == std::string::npos ? name : name.substr(0, dot);
    const bool grouped =  // or of one channel: its shape does not say
        tensor.shape.size() > 2 && tensor.shape[1] == 1 && tensor.shape[0] > 1;
    const bool convolution =
        tensor.shape.size() == 4 || tensor.shape.size() == 5 ||
        (tensor.shape.size() == 3 && module.find("experts") == std::string::npos);
    if (name.ends_with(ending) && (tensor.shape.size() == 2 || (convolution && !grouped)) &&
        !is_embedding(module) && (!targets || targets->matches(module))) {
      const bool turned = tensor.shape.size() == 2 && is_conv1d(base, module);
      const index_t out = tensor.shape[turned ? 1 : 0];
      found.matrices.push_back({module, out, tensor.count() / out, turned});
    } else {
      found.others.push_back({name, module, kind_of(name, tensor, module)});
    }
  }
  return found;
}

// Wᵀ (in×out) as it lies, of both, and the difference.
matrix<float> difference_of(const base_model& tuned, const base_model& base,
                            const std::string& name, index_t rows, index_t cols) {
  matrix<float> D = read_finite<float>(tuned.tensors(), name, rows, cols);
  constexpr index_t entries = 4'000'000;
  const index_t most = std::max<index_t>(1, entries / cols);
  for (index_t first = 0; first < rows; first += most) {
    const index_t count = std::min(most, rows - first);
    matrix<float> before(cols, count);
    safetensors::read_rows<float>(name, base.tensors().info(name), first * cols, before);
    require_finite<float>(base.tensors(), name, before);
    add<float>(-1, before, view(D).col_range(first, count));
  }
  base.tensors().release(name);
  return D;
}

std::string saved_name(const whole_tensor& t, const std::map<std::string, std::size_t>& adapted) {
  const std::string begin(peft::module_prefix);
  return t.kind == "biases" && adapted.contains(t.module) ? begin + t.module + ".base_layer.bias"
                                                          : begin + t.name;
}

// The tensors that go along whole, and the fields that say so. Those that do not are named.
void plan_others(const extract_options& o, const differences& found, const base_model& tuned,
                 peft::adapter_plan& plan, reporter& report) {
  std::map<std::string, std::size_t> adapted;
  for (std::size_t i = 0; i < found.matrices.size(); ++i) {
    adapted[found.matrices[i].module] = i;
  }
  std::map<std::string, std::vector<std::string>> left;
  std::vector<std::string> modules;
  std::size_t biases = 0;
  for (const whole_tensor& t : found.others) {
    const bool taken = (t.kind == "norms" && o.norms) || (t.kind == "biases" && o.biases) ||
                       (t.kind == "embeddings" && o.embeddings);
    if (!taken) {
      left[t.kind].push_back(t.name);
      continue;
    }
    peft::require_sound(tuned.tensors(), t.name);
    plan.copied.push_back({&tuned.tensors(), t.name, saved_name(t, adapted)});
    if (t.kind == "biases") {
      ++biases;
    } else if (modules.empty() || modules.back() != t.module) {
      modules.push_back(t.module);
    }
  }
  if (!modules.empty()) {
    plan.config->set("modules_to_save", modules);
  }
  if (biases > 0) {
    plan.config->set("bias", "all");
  }
  for (const auto& [kind, names] : left) {
    const std::string option = kind == "other tensors" ? "" : "; --" + kind + " takes them along";
    report.line("left", fmt::format("{} {} that changed are left out, the first is {}{}",
                                    names.size(), kind, names.front(), option));
  }
}

}  // namespace

void extract(const extract_options& o) {
  refuse_if(o.rank < 0, fmt::format("extract: --rank is {}; a rank is 1 or more", o.rank));
  refuse_if(o.energy < 0 || o.energy > 1,
            fmt::format("extract: --energy is {:g}; a part is between 0 and 1", o.energy));
  refuse_if(o.rank == 0 && o.energy == 0, "extract: no rank; --rank or --energy is needed");
  check_outputs(o);
  reporter report("extract", o);
  const base_model tuned(o.tuned, o.stored_as);
  const base_model base(o.base, o.stored_as);
  for (const base_model* model : {&tuned, &base}) {
    report.line(model == &tuned ? "tuned" : "base",
                fmt::format("{}: {} tensors", model->tensors().source().string(),
                            model->tensors().tensors().size()));
  }
  const differences found = compare(o, tuned, base);
  refuse_if(found.matrices.empty(),
            o.targets.empty()
                ? "extract: no matrix differs between the two models"
                : "extract: --targets \"" + o.targets + "\" matches no matrix that differs");

  // The ranks: as asked, or found by a first pass.
  std::vector<index_t> ranks;
  std::vector<std::string> modules;
  for (const changed_matrix& m : found.matrices) {
    const index_t most = std::min(m.out, m.in);
    ranks.push_back(o.rank > 0 ? std::min(o.rank, most) : most);
    modules.push_back(m.module);
  }
  const auto name = [&](std::size_t i) { return modules[i]; };
  const auto gen = [&](std::size_t i) {
    return preheat::generator(o.seed).fork(preheat::purpose::factors, i);
  };
  const auto part_of = [&](std::size_t i) {
    const changed_matrix& m = found.matrices[i];
    preheat::cpu<float> be;
    const matrix<float> D = difference_of(tuned, base, m.module + ".weight",
                                          m.turned ? m.in : m.out, m.turned ? m.out : m.in);
    return o.energy > 0 ? preheat::low_rank_difference_by_energy(be, D, o.energy, ranks[i], gen(i))
                        : preheat::low_rank_difference(be, D, ranks[i], gen(i));
  };
  // Parts whose rank a first pass finds, until the header can be written.
  std::vector<stored_factors<float>> factors(found.matrices.size());
  std::vector<layer_result> results(found.matrices.size());
  const auto factor = [&](std::size_t i) {
    const changed_matrix& m = found.matrices[i];
    preheat::low_rank_part<preheat::cpu<float>> part = part_of(i);
    const index_t rank = part.d.S.rows();
    results[i] = {.module = m.module,
                  .out = m.out,
                  .in = m.in,
                  .rank_before = std::min(m.out, m.in),
                  .rank = rank,
                  .norm = std::sqrt(part.energy),
                  .energy = part.retained};
    if (!m.turned) {  // of the transpose
      std::swap(part.d.U, part.d.V);
    }
    factors[i] =
        with_values_on_both<float>({std::move(part.d.U), std::move(part.d.S), std::move(part.d.V)});
    return rank;
  };
  if (o.energy > 0 && !o.dry_run) {
    for_each_layer(o.threads, modules.size(), name, [&](std::size_t i) { ranks[i] = factor(i); });
  }

  peft::adapter_plan plan;
  plan.config = peft::config::plain(o.base.string(), modules);
  bool turned = false;
  for (std::size_t i = 0; i < modules.size(); ++i) {
    const changed_matrix& m = found.matrices[i];
    const safetensors::tensor_info& W = tuned.tensors().info(m.module + ".weight");
    peft::planned_layer p =
        peft::new_layer(m.module, m.out, m.in, ranks[i], 1, o.stored.value_or(W.type));
    if (W.shape.size() > 2) {  // a convolution
      p.A_shape = W.shape;
      p.A_shape[0] = ranks[i];
      p.B_shape.resize(W.shape.size(), 1);
    }
    plan.layers.push_back(std::move(p));
    turned = turned || m.turned;
  }
  plan.config->set("fan_in_fan_out", turned);
  plan_others(o, found, tuned, plan, report);
  plan.stored = o.stored;
  plan.single_file = as_single_file(o);
  peft::set_ranks(plan);
  if (o.dry_run) {
    for (const std::string& module : modules) {
      peft::require_sound(tuned.tensors(), module + ".weight");
      peft::require_sound(base.tensors(), module + ".weight");
    }
  } else {
    peft::writer writer(o.out, plan);
    for_each_layer(o.threads, modules.size(), name, [&](std::size_t i) {
      if (o.energy == 0) {
        factor(i);
      }
      writer.write<float>(i, factors[i].At, factors[i].Bt);
      factors[i] = {};
    });
    writer.commit();
    report_error_of(report, results);
  }
  report.line("same", fmt::format("{} tensors are the same in both models", found.unchanged));
  report.wrote(plan);
  report.finish(o.dry_run ? std::vector<layer_result>() : results);
}

}  // namespace apps::adapter
