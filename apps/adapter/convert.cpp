// Adapters on a residual base (PiSSA, OLoRA, CorDA, LoRA-GA, MiLoRA) as plain LoRA on the original one
// (convert/plain_lora.hpp), exactly, as PEFT's path_initial_model_for_weight_conversion; or the best
// approximation of a lower rank (convert/recompress.hpp), with its error.
#include <algorithm>
#include <cmath>
#include <type_traits>
#include <utility>
#include <vector>

#include <preheat/convert/plain_lora.hpp>

#include "commands.hpp"
#include "convert_style.hpp"
#include "sources.hpp"

namespace apps::adapter {

void convert(const convert_options& o) {
  if (o.initial.empty()) {
    convert_style(o);
    return;
  }
  refuse_if(o.to != convert_options::style::same,
            "convert: --initial and --to are two conversions; do one after the other");
  refuse_if(o.rank < 0, fmt::format("convert: --rank is {}; a rank is 1 or more", o.rank));
  check_outputs(o);
  reporter report("convert", o);
  const peft::reader trained(o.adapter);
  report.read(trained);
  const peft::reader start(o.initial);
  report.read(start);
  peft::require_same_kind(trained, start);
  if (trained.dora() || start.dora()) {
    throw preheat::invalid_argument(o.adapter.string() +
                                    ": DoRA adapters are not converted; merge them");
  }

  peft::adapter_plan plan = peft::plan_like(trained);
  plan.copied = peft::passed_through(trained);
  plan.stored = o.stored;
  plan.single_file = as_single_file(o);
  std::vector<std::vector<peft::term>> terms;
  for (const peft::adapter_layer& l : trained.layers()) {
    const peft::adapter_layer* const before = start.find(l.module);
    refuse_if(before == nullptr, "module " + l.module + " is not in " + o.initial.string());
    refuse_if(
        before->out != l.out || before->in != l.in || before->scaling != l.scaling,
        fmt::format("module {}: {}×{} with s = {:g}, in {} {}×{} with s = {:g}", l.module, l.out,
                    l.in, l.scaling, o.initial.string(), before->out, before->in, before->scaling));
    terms.push_back({{&trained, &l}, {&start, before, preheat::weights_of_start}});
    const index_t all = l.rank + before->rank;
    const index_t rank = o.rank > 0 ? std::min({o.rank, all, l.out, l.in}) : all;
    plan.layers.push_back(peft::planned_like(trained, l, rank, l.scaling, o.stored));
  }
  refuse_if(start.layers().size() != trained.layers().size(),
            fmt::format("convert: {} has {} modules, {} has {}", o.adapter.string(),
                        trained.layers().size(), o.initial.string(), start.layers().size()));
  peft::set_ranks(plan);

  std::vector<layer_result> results(plan.layers.size());
  if (o.dry_run) {
    require_all_sound(trained);
    require_all_sound(start);
  } else {
    peft::writer writer(o.out, plan);
    with_scalar({&trained, &start}, [&]<class T>(std::type_identity<T>) {
      for_each_layer(
          o.threads, plan.layers.size(), [&](std::size_t i) { return plan.layers[i].layer.module; },
          [&](std::size_t i) {
            const peft::adapter_layer& l = plan.layers[i].layer;
            stored_factors<T> f = concatenated<T>(terms[i]);
            const double squared = squared_norm(f);
            double energy = 1;
            if (o.rank > 0) {
              recompressed_factors<T> small = recompressed(std::move(f), l.rank);
              energy = small.energy;
              f = std::move(small.f);
            }
            // The bias of B starts at zero, whatever the base is.
            const matrix<T> bias =
                l.bias.empty() ? zeros<T>(0, 1) : read_finite<T>(trained.files(), l.bias, 1, l.out);
            writer.write<T>(i, f.At, f.Bt, bias);
            results[i] = {.module = l.module,
                          .out = l.out,
                          .in = l.in,
                          .rank_before = terms[i][0].layer->rank,
                          .rank = l.rank,
                          .scaling = l.scaling,
                          .norm = l.scaling * std::sqrt(squared),
                          .energy = energy};
          });
    });
    writer.commit();
  }
  report.wrote(plan);
  if (o.rank > 0 && !o.dry_run) {
    report_error_of(report, results);
  }
  report.finish(o.dry_run ? std::vector<layer_result>() : results);
}

}  // namespace apps::adapter
