// The base with adapters in it: W + Σ w·s·B·A, with DoRA diag(m/‖row‖)·(W + s·B·A), in the base's own
// dtypes or in one. Weights are read, changed and written a few rows at a time; everything else is copied.
// Whole tensors of an adapter take the place of the base's. Every tensor of the adapters is used, or the
// command refuses; merge_plan.hpp says where each goes, model_output.hpp what is written.
#include <atomic>
#include <cmath>
#include <string>
#include <type_traits>
#include <vector>

#include "base.hpp"
#include "commands.hpp"
#include "dequantize.hpp"
#include "merge_plan.hpp"
#include "model_output.hpp"
#include "sources.hpp"

namespace apps::adapter {
namespace {

using preheat::transpose;

// W += w·s·B·A for experts first… of a 3-D parameter, each a column of `W`. Rows e·r… of A belong to expert e, and
// of every E columns of B the e-th.
template <class T>
void add_experts(const merged_layer& m, const stored_factors<T>& f, view<T> W, index_t first) {
  const peft::adapter_layer& l = *m.layer;
  const index_t r = l.rank / l.experts;
  matrix<T> Bt(r, l.out);
  for (index_t c = 0; c < W.cols(); ++c) {
    const index_t e = first + c;
    for (index_t j = 0; j < l.out; ++j) {
      for (index_t k = 0; k < r; ++k) {
        Bt.data()[k + j * Bt.ld()] = f.Bt.data()[k * l.experts + e + j * f.Bt.ld()];
      }
    }
    const view<const T> At = view(f.At).col_range(e * r, r);
    T* const begin = W.col_range(c, 1).data();
    const double factor = m.weight * l.scaling;
    if (m.transposed) {
      add_product<T>(factor, transpose::yes, Bt, transpose::yes, At, view<T>(begin, l.out, l.in));
    } else {
      add_product<T>(factor, transpose::no, At, transpose::no, Bt, view<T>(begin, l.in, l.out));
    }
  }
}

// W += w·s·B·A for rows first… of W, which are the columns of `W`.
template <class T>
void add_layer(const merged_layer& m, const stored_factors<T>& f, view<T> W, index_t first) {
  const double factor = m.weight * m.layer->scaling;
  if (m.layer->experts > 0) {
    add_experts<T>(m, f, W, first);
    return;
  }
  if (m.transposed) {  // columns first… of s·B·A (out×in)
    add_product<T>(factor, transpose::yes, f.Bt, transpose::yes,
                   view(f.At).row_range(first, W.cols()), W);
    return;
  }
  const view<const T> B = view(f.Bt).col_range(first, W.cols());  // rows first… of B
  add_product<T>(factor, transpose::no, f.At, transpose::no, B, W);
}

// A piece of a tensor of the adapter in the shape of W, whose columns are its rows first….
template <class T>
matrix<T> piece_of(const merged_tensor& t, view<const T> W, index_t first) {
  matrix<T> M(W.rows(), W.cols());
  safetensors::read_rows<T>(t.name, t.from->info(t.name), first * W.rows(), M);
  return M;
}

// Whether a number of the tensor changed.
template <class T>
bool merge_tensor(const merged_weight& m, const base_model& base, const std::string& name,
                  safetensors::dtype stored, safetensors::stream& to) {
  std::vector<stored_factors<T>> factors;
  for (const merged_layer& l : m.layers) {
    factors.push_back(read_term<T>({l.adapter, l.layer}));
  }
  matrix<T> magnitude;
  if (!m.layers.empty() && !m.layers.front().layer->magnitude.empty()) {
    const merged_layer& l = m.layers.front();
    magnitude = read_finite<T>(l.adapter->files(), l.layer->magnitude, 1, l.layer->out);
  }
  std::vector<matrix<T>> biases;
  for (const merged_layer& l : m.biases) {
    biases.push_back(read_finite<T>(l.adapter->files(), l.layer->bias, 1, l.layer->out));
  }
  return rewrite_rows<T>(base.tensors(), m.base, to, name, stored, [&](view<T> W, index_t first) {
    if (m.saved) {
      const matrix<T> saved = piece_of<T>(*m.saved, W, first);
      multiply<T>(0, W);
      add<T>(1, saved, W);
    }
    for (std::size_t i = 0; i < m.token_rows.size(); ++i) {
      const index_t column = m.token_rows[i] - first;
      if (0 <= column && column < W.cols()) {
        safetensors::read_rows<T>(m.tokens->name, m.tokens->from->info(m.tokens->name),
                                  index_t(i) * W.rows(), W.col_range(column, 1));
      }
    }
    for (const merged_tensor& d : m.differences) {
      add<T>(d.weight, piece_of<T>(d, W, first), W);
    }
    for (std::size_t i = 0; i < factors.size(); ++i) {
      add_layer<T>(m.layers[i], factors[i], W, first);
    }
    if (magnitude.data() != nullptr && magnitude.rows() * magnitude.cols() > 0) {
      set_lengths<T>(magnitude, first, W);
    }
    for (std::size_t i = 0; i < biases.size(); ++i) {
      const merged_layer& l = m.biases[i];
      for (index_t j = 0; j < W.cols(); ++j) {
        *W.col_range(j, 1).data() += T(l.weight * l.layer->scaling) * biases[i].data()[first + j];
      }
    }
  });
}

std::vector<output_tensor> plan_output(const merge_options& o, const base_model& base,
                                       const merge_plan& plan) {
  std::vector<output_tensor> planned;
  const auto type_of = [&](safetensors::dtype type) {
    return safetensors::is_floating(type) ? o.stored.value_or(type) : type;
  };
  for (const auto& [name, tensor] : base.tensors().tensors()) {
    planned.push_back({{name, type_of(tensor.type), tensor.shape}, name});
  }
  for (const auto& [name, weight] : plan.weights) {
    if (!base.tensors().contains(name)) {  // the head of a tied model
      const safetensors::tensor_info& tensor = base.tensors().info(weight.base);
      planned.push_back({{name, type_of(tensor.type), tensor.shape}, weight.base});
    }
  }
  return planned;
}

}  // namespace

void merge(const merge_options& o) {
  check_outputs(o);
  refuse_if(!o.weights.empty() && o.weights.size() != o.adapters.size(),
            fmt::format("merge: {} weights for {} adapters; one for each is needed",
                        o.weights.size(), o.adapters.size()));
  for (const double w : o.weights) {
    refuse_if(!std::isfinite(w), "merge: a weight is not finite");
  }
  reporter report("merge", o);
  std::vector<peft::reader> adapters;
  adapters.reserve(o.adapters.size());
  std::vector<weighted_adapter> weighted;
  std::vector<const peft::reader*> all;
  for (std::size_t i = 0; i < o.adapters.size(); ++i) {
    adapters.emplace_back(o.adapters[i], peft::experts::understood);
    report.read(adapters.back());
    weighted.push_back({&adapters.back(), o.weights.empty() ? 1 : o.weights[i]});
    all.push_back(&adapters.back());
  }
  const bool from_gguf = is_gguf(o.base);
  refuse_if(from_gguf && !o.stored,
            o.base.string() + ": a GGUF file; --dtype says as what its numbers are written");
  refuse_if(from_gguf && !model_output::is_file(o.out),
            o.base.string() + ": a GGUF file has no config.json for a folder; --out X.safetensors");
  const dequantized_base plain(o.stored ? o.base : std::filesystem::path(), o.out);
  const base_model base(o.stored ? plain.path() : o.base, o.stored_as);
  if (plain.is_new()) {
    report.line("note", o.base.string() + " is dequantized");
  }
  report.line("base",
              fmt::format("{}: {} tensors in {} {}",
                          plain.is_new() ? o.base.string() : base.tensors().source().string(),
                          base.tensors().tensors().size(), base.tensors().file_count(),
                          base.tensors().file_count() == 1 ? "file" : "files"));
  const merge_plan plan = plan_merge(weighted, base, peft::name_map(o.map));
  for (const std::string& note : plan.notes) {
    report.line("note", note);
  }
  const std::vector<output_tensor> planned = plan_output(o, base, plan);
  std::atomic<std::size_t> changed = 0;
  if (o.dry_run) {
    require_all_sound(adapters);
    for (const auto& entry : base.tensors().tensors()) {
      peft::require_sound(base.tensors(), entry.first);
    }
  } else {
    model_output output(o.out, base, planned, {!plan.new_heads.empty(), o.stored});
    with_scalar(all, [&]<class T>(std::type_identity<T>) {
      for_each_layer(
          o.threads, planned.size(), [&](std::size_t i) { return planned[i].tensor.name; },
          [&](std::size_t i) {
            const std::string& name = planned[i].tensor.name;
            const safetensors::dtype stored = planned[i].tensor.type;
            safetensors::stream& to = output.stream_of(name);
            if (const auto m = plan.weights.find(name); m != plan.weights.end()) {
              changed += merge_tensor<T>(m->second, base, name, stored, to) ? 1 : 0;
            } else if (stored != base.tensors().info(name).type) {
              rewrite_rows<T>(base.tensors(), name, to, name, stored, [](view<T>, index_t) {});
            } else {
              peft::require_sound(base.tensors(), name);
              safetensors::copy_tensor(base.tensors(), name, to);
            }
          });
    });
    output.commit();
    report.line("check", fmt::format("{} of {} weights changed; each of the {} tensors of the "
                                     "{} was used once",
                                     changed.load(), plan.weights.size(), plan.tensors,
                                     adapters.size() == 1 ? "adapter" : "adapters"));
  }
  std::size_t bytes = 0;
  std::size_t replaced = 0;
  for (const output_tensor& t : planned) {
    bytes += safetensors::detail::checked_byte_count(t.tensor.name, t.tensor.type, t.tensor.shape);
  }
  for (const auto& entry : plan.weights) {
    replaced += entry.second.saved && !entry.second.saved_is_base ? 1 : 0;
  }
  report.line(o.dry_run ? "would" : "wrote",
              fmt::format("{}{}: {} weights merged, {} of them replaced by the adapter's own, {}",
                          o.dry_run ? "write " : "", o.out.string(), plan.weights.size(), replaced,
                          size_text(bytes)));
  report.finish();
}

}  // namespace apps::adapter
