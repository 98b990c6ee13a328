// Adapters on a residual base (PiSSA, OLoRA, CorDA, LoRA-GA, MiLoRA) as plain LoRA on the original one
// (convert/plain_lora.hpp), exactly, as PEFT's path_initial_model_for_weight_conversion; or the best
// approximation of a lower rank (convert/recompress.hpp), with its error.
#include <algorithm>
#include <cmath>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include <preheat/convert/plain_lora.hpp>

#include "commands.hpp"
#include "sources.hpp"

namespace apps::adapter {

void convert(const convert_options& o) {
  preheat::require(o.rank >= 0, "convert: rank >= 1", o.rank, 1);
  files::require_absent(o.out);
  reporter report("convert", o);
  const peft::reader trained(o.adapter);
  report.read(trained);
  const peft::reader start(o.initial);
  report.read(start);
  peft::require_same_kind(trained, start);
  if (trained.is_folder() && (trained.config().dora() || start.config().dora())) {
    throw preheat::invalid_argument(o.adapter.string() +
                                    ": DoRA adapters are not converted; merge them");
  }

  peft::adapter_plan plan = peft::plan_like(trained);
  plan.copied = peft::passed_through(std::span(&trained, 1));
  std::vector<std::vector<peft::term>> terms;
  for (const peft::adapter_layer& l : trained.layers()) {
    const peft::adapter_layer* const before = start.find(l.module);
    if (before == nullptr || before->out != l.out || before->in != l.in ||
        before->scaling != l.scaling) {
      throw preheat::invalid_argument("module " + l.module + ": it is in " + o.initial.string() +
                                      " too, with the same shapes and the same scale");
    }
    terms.push_back({{&trained, &l}, {&start, before, preheat::weights_of_start}});
    const index_t all = l.rank + before->rank;
    const index_t rank = o.rank > 0 ? std::min({o.rank, all, l.out, l.in}) : all;
    plan.layers.push_back(peft::planned_like(trained, l, rank, l.scaling, o.stored));
  }
  preheat::require(start.layers().size() == trained.layers().size(),
                   "convert: both adapters have the same modules", start.layers().size(),
                   trained.layers().size());
  peft::set_ranks(plan);

  std::vector<layer_result> results(plan.layers.size());
  if (!o.dry_run) {
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
    double kept = 0;
    double all = 0;
    for (const layer_result& r : results) {
      kept += r.energy * r.norm * r.norm;
      all += r.norm * r.norm;
    }
    report.line("error", fmt::format("{:.3g} of the norm of all changes",
                                     all > 0 ? std::sqrt(std::max(0.0, 1 - kept / all)) : 0.0));
  }
  report.finish(o.dry_run ? std::vector<layer_result>() : results);
}

}  // namespace apps::adapter
