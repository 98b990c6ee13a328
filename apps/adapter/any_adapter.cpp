#include "any_adapter.hpp"

#include <array>
#include <cmath>
#include <fstream>
#include <map>
#include <string_view>
#include <utility>

#include <preheat/gguf/adapter_tensors.hpp>
#include <preheat/gguf/row_order.hpp>

#include "lycoris_reader.hpp"
#include "outputs.hpp"

namespace apps::adapter {
namespace {

namespace gguf = preheat::gguf;

bool begins_with(const std::filesystem::path& path, std::string_view text) {
  std::array<char, 4> begin{};
  std::ifstream(path, std::ios::binary).read(begin.data(), begin.size());
  return std::string_view(begin.data(), begin.size()) == text;
}

// Nothing if the file has no tensor of LyCORIS. Plain LoRA beside them is read too.
std::optional<any_adapter> read_lycoris(const std::filesystem::path& path) {
  if (std::filesystem::is_directory(path)) {
    return std::nullopt;
  }
  const auto files = std::make_shared<const safetensors::tensor_files>(path);
  std::map<std::string, parts_of_module> modules;
  std::vector<std::string> others;
  bool found = false;
  for (const auto& entry : files->tensors()) {
    const std::string& name = entry.first;
    bool understood = false;
    const auto take = [&](std::string_view part) {
      const std::string end = "." + std::string(part);
      if (!understood && name.ends_with(end) && name.size() > end.size()) {
        modules[name.substr(0, name.size() - end.size())][std::string(part)] = name;
        understood = true;
      }
    };
    for (const std::string_view part : lycoris_parts) {
      take(part);
      found =
          found || (understood && !part.starts_with("lora_down") && !part.starts_with("lora_up"));
      if (understood) {
        break;
      }
    }
    take("alpha");
    if (!understood) {
      others.push_back(name);
    }
  }
  if (!found) {
    return std::nullopt;
  }
  if (!others.empty()) {
    throw preheat::invalid_argument(path.string() + ": tensor \"" + others.front() +
                                    "\" is not understood beside LoHa or LoKr");
  }
  any_adapter adapter;
  adapter.format = "LyCORIS";
  const lycoris_reader reader(files);
  for (const auto& [module, parts] : modules) {
    if (parts.contains("lora_up.weight") && !parts.contains("lora_mid.weight")) {
      throw preheat::invalid_argument(
          path.string() + ": module " + module +
          " is plain LoRA beside LoHa or LoKr; such a file is not converted");
    }
    adapter.layers.push_back(reader.layer(module, parts));
  }
  return adapter;
}

any_adapter read_gguf(const std::filesystem::path& path, const base_model* base) {
  const auto file = std::make_shared<const gguf::reader>(path);
  const gguf::detail::adapter_header header =
      gguf::detail::read_adapter_header(file->header(), file->source());
  any_adapter adapter;
  adapter.format = "GGUF";
  for (const gguf::detail::adapter_pair& pair : header.pairs) {
    any_layer l;
    l.module = pair.layer;
    l.out = pair.out;
    l.in = pair.in;
    l.rank = pair.rank;
    l.scaling = header.alpha / double(pair.rank);
    const bool pairs = gguf::detail::has_rows_in_pairs(header.architecture, pair.layer);
    const index_t head =
        pairs ? head_size(base, path.string() + ": the rows of " + pair.weight + " are in pairs")
              : 0;
    refuse_if(pairs && l.out % head != 0, path.string() + ": " + pair.weight + " has " +
                                              std::to_string(l.out) + " rows, heads of " +
                                              std::to_string(head));
    l.read = [file, pair, head] {
      stored_factors<double> f{matrix<double>(pair.in, pair.rank),
                               matrix<double>(pair.rank, pair.out)};
      const std::string A = pair.weight + std::string(gguf::detail::factor_a);
      const std::string B = pair.weight + std::string(gguf::detail::factor_b);
      gguf::read_rows<double>(A, file->info(A), 0, f.At);
      matrix<double> rows(pair.rank, pair.out);
      gguf::read_rows<double>(B, file->info(B), 0, rows);
      for (index_t i = 0; i < pair.out; ++i) {
        const index_t from = head > 0 ? gguf::rows_in_pairs(head)(i) : i;
        std::copy_n(rows.data() + from * rows.ld(), pair.rank, f.Bt.data() + i * f.Bt.ld());
      }
      for (const matrix<double>* M : {&f.At, &f.Bt}) {
        refuse_if(!std::isfinite(norm<double>(*M)),
                  file->source() + ": a factor of " + pair.weight + " has a NaN or infinite entry");
      }
      return f;
    };
    adapter.layers.push_back(std::move(l));
  }
  return adapter;
}

any_adapter read_lora(const std::filesystem::path& path) {
  any_adapter adapter;
  adapter.lora = std::make_shared<const peft::reader>(path);
  adapter.format = adapter.lora->is_folder() ? "PEFT" : "single file";
  for (const peft::adapter_layer& layer : adapter.lora->layers()) {
    any_layer l;
    l.module = layer.module;
    l.out = layer.out;
    l.in = layer.in;
    l.rank = layer.rank;
    l.scaling = layer.scaling;
    l.embedding = layer.embedding;
    const safetensors::tensor_info& A = adapter.lora->files().info(layer.A);
    l.kernel.assign(A.shape.begin() + 2, A.shape.end());
    l.type = A.type;
    l.read = [lora = adapter.lora, at = &layer] { return read_term<double>({lora.get(), at}); };
    adapter.layers.push_back(std::move(l));
  }
  adapter.copied = adapter.lora->others();
  return adapter;
}

}  // namespace

index_t head_size(const base_model* base, const std::string& why) {
  const auto number = [&](const char* key) -> index_t {
    const bool there = base != nullptr && base->config().is_object() &&
                       base->config().contains(key) && base->config()[key].is_number_integer();
    return there ? base->config()[key].get<index_t>() : 0;
  };
  const index_t given = number("head_dim");
  const index_t heads = number("num_attention_heads");
  const index_t width = number("hidden_size");
  const index_t size = given > 0 ? given : heads > 0 ? width / heads : 0;
  refuse_if(
      size < 2 || size % 2 != 0,
      why +
          "; --base with the model's folder, whose config.json has the size of a head, is needed");
  return size;
}

any_adapter read_any(const std::filesystem::path& path, const base_model* base) {
  if (!std::filesystem::is_directory(path) && begins_with(path, "GGUF")) {
    return read_gguf(path, base);
  }
  if (std::filesystem::exists(path)) {
    if (auto lycoris = read_lycoris(path)) {
      return std::move(*lycoris);
    }
  }
  return read_lora(path);
}

}  // namespace apps::adapter
