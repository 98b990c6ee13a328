// Starts from the weights of a base: the inits of the library, applied to the weights of the modules whose
// name a regular expression matches, the others untouched.
//
//   pissa, milora, olora   take s·B·A out of the base. With --residual that base is written, and the adapter
//                          is plain LoRA on it. Without, the adapter says "pissa" or "olora", so that PEFT
//                          takes the same product out of the original base whenever it loads the adapter.
//   orthogonal             A orthonormal rows, B = 0: the base stays
#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <preheat/cpu/backend.hpp>
#include <preheat/init/milora.hpp>
#include <preheat/init/olora.hpp>
#include <preheat/init/orthogonal.hpp>
#include <preheat/init/pissa.hpp>
#include <preheat/peft/name_expression.hpp>

#include "base.hpp"
#include "commands.hpp"
#include "start_of.hpp"

namespace apps::adapter {
namespace {

using init_kind = init_options::kind;

// The modules with a weight matrix in the base whose whole name matches.
std::vector<std::string> find_targets(const safetensors::tensor_files& base,
                                      const std::string& pattern, reporter& report) {
  const peft::name_expression expression(pattern);
  constexpr std::string_view ending = ".weight";
  std::vector<std::string> modules;
  std::size_t others = 0;
  std::string example;
  for (const auto& [name, tensor] : base.tensors()) {
    if (!name.ends_with(ending)) {
      continue;
    }
    const std::string module = name.substr(0, name.size() - ending.size());
    example = tensor.shape.size() == 2 ? module : example;
    if (!expression.matches(module)) {
      continue;
    }
    weight_name(base, module);
    if (tensor.shape.size() != 2) {
      ++others;
      continue;
    }
    refuse_if(is_embedding(module),
              "init: --targets \"" + pattern + "\" matches " + module +
                  ", an embedding; starts are for layers alone, so leave it out of --targets");
    modules.push_back(module);
  }
  refuse_if(modules.empty(),
            "init: --targets \"" + pattern +
                "\" matches no module with a matrix; it must match a whole name, such as \"" +
                example + "\"");
  if (others > 0) {
    report.line("note", fmt::format("{} modules match whose weight is no matrix; they are left out",
                                    others));
  }
  return modules;
}

}  // namespace

preheat::factors<preheat::cpu<float>> start_of(
    preheat::cpu<float>& be, const init_options& o,
    const preheat::target_layer<preheat::cpu<float>>& site) {
  switch (o.type) {
    case init_kind::milora:
      return preheat::init::milora{}(be, site);
    case init_kind::olora:
      return preheat::init::olora{}(be, site);
    case init_kind::orthogonal:
      return preheat::init::orthogonal{}(be, site);
    case init_kind::pissa:
      break;
  }
  // Without --residual PEFT takes the product of the exact SVD out of the base.
  return o.exact || o.residual.empty() ? preheat::init::pissa{}(be, site)
                                       : preheat::init::pissa_randomized{}(be, site);
}

void init(const init_options& o) {
  refuse_if(o.rank < 1, fmt::format("init: --rank is {}; a rank is 1 or more", o.rank));
  refuse_if(o.alpha < 0, fmt::format("init: --alpha is {:g}; it is more than 0", o.alpha));
  const bool takes_away = o.type != init_kind::orthogonal;
  refuse_if(!takes_away && !o.residual.empty(),
            "init: orthogonal leaves the base as it is; --residual is for pissa, milora and olora");
  refuse_if(
      o.type == init_kind::milora && o.residual.empty(),
      "init: milora needs --residual: PEFT does not know how to take its product out of a base");
  check_outputs(o);
  if (!o.residual.empty()) {
    check_target(o.residual);
    refuse_if(o.residual == o.out || o.residual == o.json,
              "init: --residual is where something else goes, " + o.residual.string());
  }
  reporter report("init", o);
  const base_model model(o.base, o.stored_as);
  const safetensors::tensor_files& base = model.tensors();
  report.line("base", fmt::format("{}: {} tensors", base.source().string(), base.tensors().size()));
  const std::vector<std::string> modules = find_targets(base, o.targets, report);

  peft::adapter_plan plan;
  plan.config = peft::config::plain(o.base.string(), modules);
  plan.config->set("use_rslora", o.rslora);
  std::vector<bool> turned;  // the modules that the base stores as in×out
  for (const std::string& module : modules) {
    const safetensors::tensor_info& W = base.info(module + ".weight");
    const bool conv1d = is_conv1d(model, module);
    turned.push_back(conv1d);
    const index_t out = W.shape[conv1d ? 1 : 0];
    const index_t in = W.shape[conv1d ? 0 : 1];
    refuse_if(o.rank > std::min(out, in),
              fmt::format("module {}: it is {}×{}, so its rank is at most {}; --rank is {}", module,
                          out, in, std::min(out, in), o.rank));
    const double scaling = plan.config->scaling(o.alpha > 0 ? o.alpha : double(o.rank), o.rank);
    plan.layers.push_back(
        peft::new_layer(module, out, in, o.rank, scaling, o.stored.value_or(W.type)));
  }
  if (std::find(turned.begin(), turned.end(), true) != turned.end()) {
    plan.config->set("fan_in_fan_out", true);
  }
  peft::set_ranks(plan);
  if (takes_away && o.residual.empty()) {
    plan.config->set("init_lora_weights", o.type == init_kind::pissa ? "pissa" : "olora");
  }

  if (o.dry_run) {
    for (const std::string& module : modules) {
      peft::require_sound(base, weight_name(base, module));
    }
  } else {
    std::optional<safetensors::stream> residual;
    if (!o.residual.empty()) {
      std::map<std::string, std::string> metadata = base.metadata();
      metadata.try_emplace("format", "pt");
      residual.emplace(o.residual, safetensors::planned_tensors(base), metadata);
    }
    std::set<std::string> weights;  // that change
    for (const std::string& module : modules) {
      weights.insert(weight_name(base, module));
    }
    peft::writer writer(o.out, plan);
    using T = float;
    using Be = preheat::cpu<T>;
    for_each_layer(
        o.threads, modules.size(), [&](std::size_t i) { return modules[i]; },
        [&](std::size_t i) {
          Be be;
          const peft::adapter_layer& l = plan.layers[i].layer;
          const std::string name = weight_name(base, l.module);
          const matrix<T> W = turned[i] ? read_finite<T>(base, name, l.in, l.out)
                                        : transposed<T>(read_finite<T>(base, name, l.out, l.in));
          const preheat::target_layer<Be> site{
              .W = W,
              .rank = l.rank,
              .scaling = T(l.scaling),
              .layer = index_t(i),
              .gen = preheat::generator(o.seed).fork(preheat::purpose::factors, i)};
          const preheat::factors<Be> start = start_of(be, o, site);
          const matrix<T> At = transposed<T>(start.A);
          const matrix<T> Bt = transposed<T>(start.B);
          writer.write<T>(i, At, Bt);
          if (residual) {
            rewrite_rows<T>(
                base, name, *residual, name, base.info(name).type,
                [&](view<T> piece, index_t first) {
                  if (turned[i]) {
                    add_product<T>(-l.scaling, preheat::transpose::yes, Bt, preheat::transpose::yes,
                                   view(At).row_range(first, piece.cols()), piece);
                    return;
                  }
                  add_product<T>(-l.scaling, preheat::transpose::no, At, preheat::transpose::no,
                                 view(Bt).col_range(first, piece.cols()), piece);
                });
          }
        });
    if (residual) {
      for (const auto& entry : base.tensors()) {
        if (!weights.contains(entry.first)) {
          safetensors::copy_tensor(base, entry.first, *residual);
        }
      }
      residual->commit();
    }
    writer.commit();
  }
  report.wrote(plan);
  if (!o.residual.empty()) {
    report.line(o.dry_run ? "would" : "wrote",
                fmt::format("{}{}: the base without s·B·A; the adapter belongs to it",
                            o.dry_run ? "write " : "", o.residual.string()));
  } else if (takes_away) {
    report.line("note",
                fmt::format("init_lora_weights is \"{}\": PEFT takes s·B·A out of the base itself, "
                            "when it loads the adapter",
                            plan.config->init()));
  }
  report.finish();
}

}  // namespace apps::adapter
