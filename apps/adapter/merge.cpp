// The base with the adapter in it: W + s·B·A, with DoRA diag(m/‖row‖)·(W + s·B·A), in the base's own
// dtypes. Weights are read, changed and written a few rows at a time; everything else is copied. Tensors
// of modules_to_save take the place of the base's.
#include <map>
#include <string>
#include <type_traits>
#include <vector>

#include "base.hpp"
#include "commands.hpp"
#include "sources.hpp"

namespace apps::adapter {
namespace {

using preheat::transpose;

// Where each of the base's tensors comes from.
struct merging {
  std::map<std::string, const peft::adapter_layer*> weights;  // by the name of the base's tensor
  std::map<std::string, const peft::adapter_layer*> biases;
  std::map<std::string, std::string> replaced;  // by the adapter's tensor of that name
};

// "classifier.weight" of "base_model.model.classifier.weight", and "query.bias" of "…query.base_layer.bias",
// as a layer inside an adapted one is called.
std::string name_in_base(std::string tensor) {
  if (tensor.starts_with(peft::module_prefix)) {
    tensor.erase(0, peft::module_prefix.size());
  }
  const std::string inside = ".base_layer.";
  if (const std::size_t at = tensor.rfind(inside); at != std::string::npos) {
    tensor.erase(at, inside.size() - 1);
  }
  return tensor;
}

merging plan_merging(const peft::reader& adapter, const safetensors::tensor_files& base) {
  merging m;
  for (const peft::adapter_layer& l : adapter.layers()) {
    const std::string name = weight_name(base, l.module);
    const safetensors::tensor_info& W = base.info(name);
    const bool stored_transposed = l.embedding || adapter.fan_in_fan_out();
    const index_t rows = stored_transposed ? l.in : l.out;
    const index_t entries = l.in * l.out;
    if (W.shape.empty() || W.shape[0] != rows || W.count() != entries) {
      throw preheat::invalid_argument(
          "module " + l.module + ": B·A is " + std::to_string(l.out) + "×" + std::to_string(l.in) +
          (stored_transposed ? " and the base stores its transpose" : "") +
          ", the base's weight is " + safetensors::shape_text(W.shape));
    }
    m.weights[name] = &l;
    if (!l.bias.empty()) {
      const std::string bias = l.module + ".bias";
      preheat::require(
          base.contains(bias),
          "module " + l.module + ": a bias of B can be merged only into a bias of the base");
      require_weight(base, bias);
      m.biases[bias] = &l;
    }
  }
  for (const std::string& name : adapter.others()) {
    const std::string there = name_in_base(name);
    const safetensors::tensor_info& tensor = adapter.files().info(name);
    preheat::require(!base.contains(there) || base.info(there).shape == tensor.shape,
                     "tensor \"" + name + "\" has the shape of the base's");
    m.replaced[there] = name;
  }
  return m;
}

// W of one layer, given as columns×rows pieces.
template <class T>
void merge_weight(const peft::reader& adapter, const peft::adapter_layer& l,
                  const safetensors::tensor_files& base, const std::string& name,
                  safetensors::dtype stored, safetensors::stream& to) {
  const stored_factors<T> f = read_term<T>({&adapter, &l});
  const bool stored_transposed = l.embedding || adapter.fan_in_fan_out();
  matrix<T> magnitude;
  if (!l.magnitude.empty()) {
    preheat::require(
        !stored_transposed,
        "module " + l.module + ": DoRA on a weight that the base stores transposed is not merged");
    magnitude = read_finite<T>(adapter.files(), l.magnitude, 1, l.out);
  }
  rewrite_rows<T>(base, name, to, stored, [&](view<T> W, index_t first) {
    if (stored_transposed) {  // columns first… of s·B·A (out×in)
      add_product<T>(l.scaling, transpose::yes, f.Bt, transpose::yes,
                     view(f.At).row_range(first, W.cols()), W);
      return;
    }
    const view<const T> B = view(f.Bt).col_range(first, W.cols());  // rows first… of B
    add_product<T>(l.scaling, transpose::no, f.At, transpose::no, B, W);
    if (!l.magnitude.empty()) {
      for (index_t j = 0; j < W.cols(); ++j) {
        const view<T> row = W.col_range(j, 1);
        const double length = norm<T>(row);
        multiply<T>(length > 0 ? double(magnitude.data()[first + j]) / length : 0, row);
      }
    }
  });
}

}  // namespace

void merge(const merge_options& o) {
  files::require_absent(o.out);
  reporter report("merge", o);
  const peft::reader adapter(o.adapter);
  report.read(adapter);
  require_plain(adapter);
  const safetensors::tensor_files base(o.base);
  report.line("base",
              fmt::format("{}: {} tensors in {} {}", base.source().string(), base.tensors().size(),
                          base.file_count(), base.file_count() == 1 ? "file" : "files"));
  const merging m = plan_merging(adapter, base);

  std::vector<safetensors::planned_tensor> planned = safetensors::planned_tensors(base);
  for (safetensors::planned_tensor& t : planned) {
    if (m.weights.contains(t.name) || m.biases.contains(t.name)) {
      t.type = o.stored.value_or(t.type);
    } else if (const auto saved = m.replaced.find(t.name); saved != m.replaced.end()) {
      t.type = adapter.files().info(saved->second).type;
    }
  }
  for (const auto& [there, name] : m.replaced) {
    if (!base.contains(there)) {
      const safetensors::tensor_info& tensor = adapter.files().info(name);
      planned.push_back({there, tensor.type, tensor.shape});
    }
  }
  if (!o.dry_run) {
    std::map<std::string, std::string> metadata = base.metadata();
    metadata.try_emplace("format", "pt");
    safetensors::stream stream(o.out, planned, metadata);
    with_scalar({&adapter}, [&]<class T>(std::type_identity<T>) {
      for_each_layer(
          o.threads, planned.size(), [&](std::size_t i) { return planned[i].name; },
          [&](std::size_t i) {
            const std::string& name = planned[i].name;
            if (const auto saved = m.replaced.find(name); saved != m.replaced.end()) {
              stream.write(name, adapter.files().info(saved->second).bytes);
            } else if (const auto weight = m.weights.find(name); weight != m.weights.end()) {
              merge_weight<T>(adapter, *weight->second, base, name, planned[i].type, stream);
            } else if (const auto bias = m.biases.find(name); bias != m.biases.end()) {
              const peft::adapter_layer& l = *bias->second;
              const matrix<T> b = read_finite<T>(adapter.files(), l.bias, 1, l.out);
              rewrite_rows<T>(
                  base, name, stream, planned[i].type, [&](view<T> piece, index_t first) {
                    for (index_t j = 0; j < piece.cols(); ++j) {
                      *piece.col_range(j, 1).data() += T(l.scaling) * b.data()[first + j];
                    }
                  });
            } else {
              safetensors::copy_tensor(base, name, stream);
            }
          });
    });
    stream.commit();
  }
  std::size_t bytes = 0;
  for (const safetensors::planned_tensor& t : planned) {
    bytes += safetensors::detail::checked_byte_count(t.name, t.type, t.shape);
  }
  report.line(o.dry_run ? "would" : "wrote",
              fmt::format("{}{}: {} weights changed, {} tensors of modules_to_save taken, {}",
                          o.dry_run ? "write " : "", o.out.string(), m.weights.size(),
                          m.replaced.size(), size_text(bytes)));
  report.finish();
}

}  // namespace apps::adapter
