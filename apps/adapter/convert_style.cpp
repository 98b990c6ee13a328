// Every layer as factors, under the names of the other format: the same numbers where nothing asks for
// others; a lower rank, and DoRA with its base, as the best factors of that rank, with the error told.
#include "convert_style.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <preheat/convert/low_rank_difference.hpp>
#include <preheat/cpu/backend.hpp>
#include <preheat/peft/base_names.hpp>

#include "any_adapter.hpp"
#include "base.hpp"
#include "gguf_file.hpp"
#include "sources.hpp"
#include "styles.hpp"

namespace apps::adapter {
namespace {

using style = convert_options::style;

std::vector<styled_layer> plan_layers(const convert_options& o, const any_adapter& adapter,
                                      const base_model* base,
                                      const std::optional<peft::base_names>& names, bool dora) {
  std::vector<styled_layer> layers;
  std::set<std::string> used;
  std::map<component, std::string> parts;  // and a module of each
  for (const any_layer& l : adapter.layers) {
    parts.emplace(plain_name(l.module).part, l.module);
  }
  refuse_if(parts.size() > 1 && (o.to == style::peft || o.to == style::gguf),
            "convert: the file is for several models, with " + parts.begin()->second + " and " +
                parts.rbegin()->second + ", and this format for one");
  const bool several = parts.contains(component::text_2) || parts.contains(component::text_3);
  for (const any_layer& l : adapter.layers) {
    styled_layer s{&l, plain_name(l.module), l.rank, l.kernel};
    if (several && s.module.part == component::text) {
      s.module.part = component::first_of_several;
    }
    if (names && s.module.part == component::model) {
      const auto found = names->find(l.module, ".weight");
      if (!found) {
        names->fail(l.module, ".weight");
      }
      const std::vector<index_t>& shape = base->tensors().info(*found).shape;
      s.module = {component::model, plain_name(found->substr(0, found->rfind('.'))).name, false};
      if (shape.size() > 2 && s.kernel.empty()) {  // a flat one
        s.kernel.assign(shape.begin() + 2, shape.end());
      }
    }
    refuse_if(s.module.no_dots && o.to != style::kohya,
              "convert: kohya's name " + l.module +
                  " does not say where its dots were; --base, whose names do, is needed");
    refuse_if(l.embedding && o.to != style::peft,
              "convert: module " + l.module + " is an embedding, which only PEFT's format has");
    refuse_if(!used.insert(styled_name(o.to, s.module)).second,
              "convert: two modules would be called " + styled_name(o.to, s.module));
    refuse_if(dora && o.rank == 0,
              "convert: DoRA's change of W has full rank; --rank says how much of it to keep");
    const index_t most = dora ? std::min(l.out, l.in) : std::min({l.rank, l.out, l.in});
    s.rank = o.rank > 0 ? std::min(o.rank, most) : l.rank;
    layers.push_back(std::move(s));
  }
  return layers;
}

peft::adapter_plan plan_file(const convert_options& o, const any_adapter& adapter,
                             const std::vector<styled_layer>& layers, bool dora) {
  peft::adapter_plan plan;
  std::vector<std::string> modules;
  std::set<component> parts;
  for (const styled_layer& s : layers) {
    const any_layer& l = *s.source;
    const double scaling = dora ? 1 : l.scaling;
    peft::planned_layer p =
        peft::new_layer(o.to == style::peft ? s.module.name : styled_name(o.to, s.module), l.out,
                        l.in, s.rank, scaling, o.stored.value_or(l.type));
    const std::string begin = styled_name(o.to, s.module);
    p.layer.A = begin + (l.embedding            ? ".lora_embedding_A"
                         : o.to == style::kohya ? ".lora_down.weight"
                                                : ".lora_A.weight");
    p.layer.B = begin + (l.embedding            ? ".lora_embedding_B"
                         : o.to == style::kohya ? ".lora_up.weight"
                                                : ".lora_B.weight");
    if (!s.kernel.empty()) {
      index_t size = 1;
      for (const index_t extent : s.kernel) {
        size *= extent;
      }
      refuse_if(l.in % size != 0, "convert: module " + l.module + " has " + std::to_string(l.in) +
                                      " columns, its kernel " + std::to_string(size));
      p.A_shape = {s.rank, l.in / size};
      p.A_shape.insert(p.A_shape.end(), s.kernel.begin(), s.kernel.end());
      p.B_shape.resize(p.A_shape.size(), 1);
    }
    modules.push_back(s.module.name);
    parts.insert(s.module.part);
    plan.layers.push_back(std::move(p));
  }
  if (o.to == style::peft) {
    const bool from_peft = adapter.lora != nullptr && adapter.lora->is_folder();
    plan.config =
        from_peft ? adapter.lora->config() : peft::config::plain(o.base.string(), modules);
    plan.config->set("target_modules", modules);
    for (const char* const limit : {"exclude_modules", "layers_to_transform", "layers_pattern"}) {
      if (plan.config->has(limit)) {  // the names say which
        plan.config->set(limit, nullptr);
      }
    }
    if (dora) {
      plan.config->set("use_dora", false);
    }
    plan.single_file = as_single_file(o);
  } else if (o.to == style::kohya) {
    plan.metadata = {{"format", "pt"},
                     {"ss_network_module", "networks.lora"},
                     {"ss_network_dim", ""},
                     {"ss_network_alpha", ""}};
  } else if (o.to == style::diffusers) {
    nlohmann::ordered_json fields = nlohmann::ordered_json::object();
    for (const component part : parts) {
      std::string prefix = styled_name(style::diffusers, {part, "", false});
      fields[prefix + "peft_type"] = "LORA";
      prefix.pop_back();
      plan.header.push_back(
          {prefix, peft::config::plain("", {}), "lora_adapter_metadata of the header"});
    }
    plan.metadata["lora_adapter_metadata"] = fields.dump();
    plan.new_modules = true;
  }
  peft::set_ranks(plan);
  return plan;
}

// What a layer becomes, with s·B·A the change of W, and the part of its energy that is kept.
struct converted_layer {
  stored_factors<double> f;
  double norm = 0;
  double energy = 1;
};

converted_layer convert_layer(const styled_layer& s) {
  converted_layer c;
  c.f = s.source->read();
  c.norm = std::abs(s.source->scaling) * std::sqrt(squared_norm(c.f));
  if (s.rank < s.source->rank) {
    recompressed_factors<double> small = recompressed(std::move(c.f), s.rank);
    c.energy = small.energy;
    c.f = std::move(small.f);
  }
  return c;
}

// DoRA: diag(m/‖row‖)·(W + s·B·A) − W, in its main directions.
converted_layer convert_dora(const styled_layer& s, const peft::reader& lora,
                             const base_model& base, const peft::base_names& names,
                             const preheat::generator& gen) {
  using T = float;
  using Be = preheat::cpu<T>;
  const peft::adapter_layer& l = *lora.find(s.source->module);
  const std::string name = *names.find(l.module, ".weight");
  const safetensors::tensor_info& info = base.tensors().info(name);
  require_weight(base.tensors(), name);
  refuse_if(l.embedding || info.shape.empty() || info.shape[0] != l.out ||
                info.count() != l.out * l.in || base.stored_as(l.module) == layout::conv1d,
            "convert: module " + l.module + ": DoRA on a weight of the shape " +
                safetensors::shape_text(info.shape) + " is not converted");
  const matrix<T> W = read_finite<T>(base.tensors(), name, l.out, l.in);  // Wᵀ, in×out
  const stored_factors<T> f = read_term<T>({&lora, &l});
  matrix<T> D = zeros<T>(l.in, l.out);
  add<T>(1, W, D);
  add_product<T>(l.scaling, preheat::transpose::no, f.At, preheat::transpose::no, f.Bt, D);
  if (!l.magnitude.empty()) {
    const matrix<T> m = read_finite<T>(lora.files(), l.magnitude, 1, l.out);
    set_lengths<T>(m, 0, D);
  }
  add<T>(-1, W, D);
  Be be;
  preheat::low_rank_part<Be> part = preheat::low_rank_difference<Be>(be, D, s.rank, gen);
  converted_layer c;
  c.norm = std::sqrt(part.energy);
  c.energy = part.retained;
  const stored_factors<T> both =
      with_values_on_both<T>({std::move(part.d.V), std::move(part.d.S), std::move(part.d.U)});
  const auto doubled = [](const matrix<T>& M) {
    matrix<double> to(M.rows(), M.cols());
    std::transform(M.data(), M.data() + M.rows() * M.cols(), to.data(),
                   [](T x) { return double(x); });
    return to;
  };
  c.f = {doubled(both.At), doubled(both.Bt)};
  return c;
}

}  // namespace

void convert_style(const convert_options& given) {
  convert_options o = given;
  o.to = o.to == style::same ? style::peft : o.to;
  refuse_if(o.rank < 0, fmt::format("convert: --rank is {}; a rank is 1 or more", o.rank));
  check_outputs(o);
  reporter report("convert", o);
  std::optional<base_model> model;
  if (!o.base.empty()) {
    model.emplace(o.base);
  }
  const base_model* const base = model ? &*model : nullptr;
  const any_adapter adapter = read_any(o.adapter, base);
  if (adapter.lora != nullptr) {
    report.read(*adapter.lora);
    require_plain(*adapter.lora);
  } else {
    report.line("read", fmt::format("{}: {}, {} layers", o.adapter.string(), adapter.format,
                                    adapter.layers.size()));
  }
  for (const char* const field : {"alora_invocation_tokens", "layer_replication"}) {
    refuse_if(o.to != style::peft && adapter.lora != nullptr && adapter.lora->has(field),
              o.adapter.string() + ": " + field + " is set, and only PEFT's format can say so");
  }
  const bool dora = adapter.lora != nullptr && adapter.lora->dora();
  refuse_if(dora && base == nullptr,
            o.adapter.string() + ": DoRA; --base is needed to make plain LoRA of it");
  refuse_if(!adapter.copied.empty() && o.to != style::peft,
            o.adapter.string() + ": tensor \"" +
                (adapter.copied.empty() ? "" : adapter.copied.front()) +
                "\" is no factor, and only PEFT's format has a place for it");
  if (adapter.lora != nullptr) {
    for (const peft::adapter_layer& l : adapter.lora->layers()) {
      refuse_if(!l.bias.empty(), o.adapter.string() + ": tensor \"" + l.bias +
                                     "\", a bias of B, has no place in plain LoRA");
    }
  }
  std::optional<peft::base_names> names;
  if (base != nullptr) {
    names.emplace(base->tensors(), peft::name_map(o.map));
  }
  const std::vector<styled_layer> layers = plan_layers(o, adapter, base, names, dora);
  peft::adapter_plan plan = plan_file(o, adapter, layers, dora);
  for (const std::string& name : adapter.copied) {
    peft::require_sound(adapter.lora->files(), name);
    plan.copied.push_back({&adapter.lora->files(), name, copied_name(*adapter.lora, name, names)});
  }
  plan.stored = o.stored;
  std::vector<layer_result> results(layers.size());
  std::optional<gguf_file> gguf;
  if (o.to == style::gguf) {
    gguf.emplace(o, base);
  }
  {  // a dry run does everything but write, so that it fails where the run would
    std::optional<peft::writer> writer;
    if (!gguf && !o.dry_run) {
      writer.emplace(o.out, plan);
    }
    for_each_layer(
        gguf ? 1 : o.threads, layers.size(), [&](std::size_t i) { return layers[i].module.name; },
        [&](std::size_t i) {
          const any_layer& l = *layers[i].source;
          const preheat::generator gen =
              preheat::generator(o.seed).fork(preheat::purpose::factors, i);
          const converted_layer c = dora
                                        ? convert_dora(layers[i], *adapter.lora, *base, *names, gen)
                                        : convert_layer(layers[i]);
          if (gguf) {
            gguf->add(layers[i], plan.layers[i], c.f);
          } else if (writer) {
            writer->write<double>(i, c.f.At, c.f.Bt);
          }
          results[i] = {.module = l.module,
                        .out = l.out,
                        .in = l.in,
                        .rank_before = l.rank,
                        .rank = layers[i].rank,
                        .scaling = plan.layers[i].layer.scaling,
                        .norm = c.norm,
                        .energy = c.energy};
        });
    if (!o.dry_run) {
      gguf ? gguf->write(o.out) : writer->commit();
    }
    if (o.rank > 0) {
      report_error_of(report, results);
    }
  }
  report.wrote(plan);
  report.finish(o.dry_run ? std::vector<layer_result>() : results);
}

}  // namespace apps::adapter
