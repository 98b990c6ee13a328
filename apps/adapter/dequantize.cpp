#include "dequantize.hpp"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>
#include <system_error>
#include <vector>

#include <preheat/files/text_file.hpp>
#include <preheat/gguf/decoder_config.hpp>
#include <preheat/gguf/reader.hpp>
#include <preheat/gguf/row_order.hpp>
#include <preheat/gguf/tensor_names.hpp>
#include <preheat/huggingface/model_files.hpp>
#include <preheat/safetensors/copy.hpp>

#include "coded_model.hpp"
#include "outputs.hpp"

namespace apps::adapter {
namespace {

namespace fs = std::filesystem;
namespace gguf = preheat::gguf;
coded_tensors of_gguf(const gguf::reader& file) {
  const std::string architecture = file.read_metadata().get<std::string>("general.architecture");
  refuse_if(architecture != "llama" && architecture != "qwen2" && architecture != "qwen3",
            file.source() + ": the architecture is \"" + architecture +
                "\"; bases of llama, qwen2 and qwen3 are understood");
  const index_t head = gguf::read_decoder_config(file.header(), file.source()).head_size;
  coded_tensors all;
  for (const auto& entry : file.tensors()) {
    const std::string& stored = entry.first;
    const gguf::tensor_info& tensor = entry.second;
    if (stored == "rope_freqs.weight") {  // the config says it
      continue;
    }
    const auto name = gguf::hugging_face_name(architecture, stored);
    refuse_if(!name,
              file.source() + ": tensor \"" + stored + "\" has no place in a " + architecture);
    refuse_if(!gguf::is_unpacked(tensor.type),
              file.source() + ": tensor \"" + stored + "\" is stored as " +
                  std::string(gguf::name_of(tensor.type)) + ", which is not unpacked");
    const bool pairs =
        gguf::detail::has_rows_in_pairs(architecture, name->substr(0, name->rfind('.')));
    const index_t rows = tensor.shape.empty() ? 1 : tensor.shape[0];
    refuse_if(pairs && rows % head != 0, file.source() + ": tensor \"" + stored + "\" has " +
                                             std::to_string(rows) + " rows, heads of " +
                                             std::to_string(head));
    std::vector<float> entries;  // of a vector
    if (tensor.shape.size() == 1) {
      entries = file.values<float>(stored);
    }
    all[*name] = {tensor.shape, [stored, &tensor, pairs, head, entries](index_t row, float* to) {
                    const index_t from = pairs ? gguf::rows_in_pairs(head)(row) : row;
                    if (!entries.empty()) {
                      *to = entries[std::size_t(from)];
                      return;
                    }
                    gguf::read_rows<float>(stored, tensor, from, view<float>(to, tensor.cols(), 1));
                  }};
  }
  return all;
}

void write(const std::string& source, const coded_tensors& coded, safetensors::stream& to) {
  for (const auto& [name, tensor] : coded) {
    index_t count = 1;
    for (const index_t extent : tensor.shape) {
      count *= extent;
    }
    const index_t rows = tensor.shape.empty() ? 1 : tensor.shape[0];
    const index_t columns = rows > 0 ? count / rows : 0;
    std::vector<float> row(static_cast<std::size_t>(columns));
    for (index_t i = 0; i < rows; ++i) {
      tensor.unpack(i, row.data());
      refuse_if(std::any_of(row.begin(), row.end(), [](float x) { return !std::isfinite(x); }),
                source + ": tensor \"" + name + "\" has a NaN or infinite entry");
      to.write(name, std::as_bytes(std::span(row)), std::size_t(i * columns) * sizeof(float));
    }
  }
}

}  // namespace

bool is_gguf(const fs::path& path) {
  return fs::is_regular_file(path) &&
         safetensors::detail::format_of_other(path) == safetensors::detail::gguf_format;
}

dequantized_base::dequantized_base(const fs::path& base, const fs::path& out) : base_(base) {
  if (base.empty()) {  // not asked for
    return;
  }
  std::vector<safetensors::planned_tensor> planned;
  const auto plan = [&](const coded_tensors& coded) {
    for (const auto& [name, tensor] : coded) {
      planned.push_back({name, dtype::F32, tensor.shape});
    }
  };
  fs::path target = out;
  if (!target.has_filename()) {
    target = target.parent_path();
  }
  target += ".tmp-" + std::to_string(::getpid()) + "-base";
  const auto begin = [&] {
    fs::create_directory(target);
    folder_ = target;
  };
  try {
    if (is_gguf(base)) {
      const gguf::reader file(base);
      const coded_tensors coded = of_gguf(file);
      plan(coded);
      begin();
      safetensors::stream to(folder_ / "model.safetensors", planned, {{"format", "pt"}});
      write(file.source(), coded, to);
      to.commit();
      return;
    }
    const base_model model(base);
    const coded_model coded(model);
    if (coded.coded().empty()) {
      return;
    }
    plan(coded.coded());
    std::vector<std::string> copied;
    for (const auto& [name, tensor] : model.tensors().tensors()) {
      if (!coded.coded().contains(name) && !coded.parts().contains(name)) {
        planned.push_back({name, tensor.type, tensor.shape});
        copied.push_back(name);
      }
    }
    begin();
    safetensors::stream to(folder_ / "model.safetensors", planned, {{"format", "pt"}});
    write(model.tensors().source().string(), coded.coded(), to);
    for (const std::string& name : copied) {
      safetensors::copy_tensor(model.tensors(), name, to);
    }
    to.commit();
    for (const auto& entry : fs::directory_iterator(model.folder())) {
      if (model.is_of_folder() && entry.is_regular_file() &&
          preheat::huggingface::goes_with_weights(entry.path())) {
        fs::copy_file(entry.path(), folder_ / entry.path().filename());
      }
    }
    if (model.config().is_object()) {  // no longer quantized
      nlohmann::ordered_json config = model.config();
      config.erase("quantization_config");
      files::write_text_file(folder_ / "config.json", config.dump(2) + "\n");
    }
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(folder_, ignored);
    throw;
  }
}

dequantized_base::~dequantized_base() {
  if (!folder_.empty()) {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
}

}  // namespace apps::adapter
