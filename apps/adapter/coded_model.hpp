// Matrices that a model keeps in codes of a few bits, unpacked row by row: NF4 and FP4 of bitsandbytes, FP8 with its
// scales. dequantize.hpp says which tensors of a file belong to one.
#pragma once
#include <array>
#include <cmath>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include <preheat/safetensors/tensor_values.hpp>

#include "base_model.hpp"

namespace apps::adapter {

using preheat::index_t;
using preheat::view;
using safetensors::dtype;
using safetensors::tensor_info;

// A matrix that is unpacked row by row: unpack(i, to) writes row i.
struct coded_tensor {
  std::vector<index_t> shape;
  std::function<void(index_t row, float* to)> unpack;
};
using coded_tensors = std::map<std::string, coded_tensor>;

class coded_model {
 public:
  explicit coded_model(const base_model& base) : base_(base), files_(base.tensors()) {
    for (const auto& [name, tensor] : files_.tensors()) {
      if (tensor.type == dtype::U8 && state_of(name) != nullptr) {
        coded_.emplace(name, nf4(name));
      } else if (tensor.type == dtype::F8_E4M3 || tensor.type == dtype::F8_E5M2) {
        coded_.emplace(name, fp8(name));
      }
    }
  }
  const coded_tensors& coded() const { return coded_; }
  // Tensors that only say how others are coded.
  const std::set<std::string>& parts() const { return parts_; }

 private:
  [[noreturn]] void fail(const std::string& name, const std::string& problem) const {
    throw preheat::invalid_argument(files_.source().string() + ": tensor \"" + name +
                                    "\": " + problem);
  }
  const tensor_info* state_of(const std::string& name) const {
    for (const char* const kind : {"nf4", "fp4"}) {
      const std::string state = name + ".quant_state.bitsandbytes__" + kind;
      if (files_.contains(state)) {
        return &files_.info(state);
      }
    }
    return nullptr;
  }
  // All numbers of a part, of which there are `count`; any if it is 0.
  std::vector<float> numbers(const std::string& name, index_t count) {
    if (!files_.contains(name)) {
      fail(name, "it is missing beside the coded weight");
    }
    const tensor_info& tensor = files_.info(name);
    if (!safetensors::is_floating(tensor.type) || tensor.count() == 0 ||
        (count != 0 && tensor.count() != count)) {
      fail(name, std::to_string(count) + " numbers are needed; it is " +
                     std::string(safetensors::name_of(tensor.type)) + ", " +
                     safetensors::shape_text(tensor.shape));
    }
    std::vector<float> values(std::size_t(tensor.count()));
    safetensors::read_rows<float>(name, tensor, 0, view<float>(values.data(), tensor.count(), 1));
    parts_.insert(name);
    return values;
  }

  coded_tensor nf4(const std::string& name) {
    const tensor_info& packed = files_.info(name);
    const tensor_info& state = *state_of(name);
    const std::string text(reinterpret_cast<const char*>(state.bytes.data()), state.bytes.size());
    constexpr std::size_t deepest = 8;
    const auto json = files::parse_strict_json<nlohmann::ordered_json>(
        text, files_.source().string() + ": the quant_state of " + name, deepest);
    const auto whole = [&](const nlohmann::ordered_json& value, const char* what) {
      constexpr double most = 1e9;
      if (!value.is_number_integer() || value.get<double>() < 1 || value.get<double>() > most) {
        fail(name, std::string("its quant_state says ") + what + " " + value.dump());
      }
      return value.get<index_t>();
    };
    const auto field = [&](const char* key) {
      return json.is_object() && json.contains(key) ? json[key] : nlohmann::ordered_json();
    };
    coded_tensor coded;
    const nlohmann::ordered_json shape = field("shape");
    double count = 1;
    for (const auto& extent : shape.is_array() ? shape : nlohmann::ordered_json::array()) {
      coded.shape.push_back(whole(extent, "an extent"));
      count *= double(coded.shape.back());
    }
    if (coded.shape.empty() || count > 2.0 * double(packed.count()) ||
        std::ceil(count / 2) != double(packed.count())) {
      fail(name, "its quant_state says the shape " + shape.dump() + ", and it has " +
                     std::to_string(packed.count()) + " pairs of entries");
    }
    const auto entries = index_t(count);
    const index_t block = whole(field("blocksize"), "blocksize");
    const index_t blocks = (entries + block - 1) / block;
    const std::vector<float> levels = numbers(name + ".quant_map", 16);
    const std::string absmax = name + ".absmax";
    std::vector<float> scales;
    if (files_.contains(absmax) && files_.info(absmax).type == dtype::U8) {
      const index_t outer = whole(field("nested_blocksize"), "nested_blocksize");
      const nlohmann::ordered_json offset = field("nested_offset");
      if (!offset.is_number() || files_.info(absmax).count() != blocks) {
        fail(absmax, std::to_string(blocks) + " codes and a nested_offset are needed");
      }
      const std::vector<float> code = numbers(name + ".nested_quant_map", 256);
      const std::vector<float> of_scales =
          numbers(name + ".nested_absmax", (blocks + outer - 1) / outer);
      for (index_t b = 0; b < blocks; ++b) {
        const auto c = std::to_integer<std::size_t>(files_.info(absmax).bytes[std::size_t(b)]);
        scales.push_back(code[c] * of_scales[std::size_t(b / outer)] + offset.get<float>());
      }
      parts_.insert(absmax);
    } else {
      scales = numbers(absmax, blocks);
    }
    for (const char* const kind : {"nf4", "fp4"}) {
      parts_.insert(name + ".quant_state.bitsandbytes__" + kind);
    }
    const index_t columns = entries / coded.shape[0];
    coded.unpack = [bytes = packed.bytes, levels, scales = std::move(scales), block, columns](
                       index_t row, float* to) {
      for (index_t j = 0; j < columns; ++j) {
        const index_t k = row * columns + j;
        const auto pair = std::to_integer<unsigned>(bytes[std::size_t(k / 2)]);
        to[j] = levels[k % 2 == 0 ? pair >> 4U : pair & 0xFU] * scales[std::size_t(k / block)];
      }
    };
    return coded;
  }

  static float e4m3(unsigned byte) {
    const unsigned exponent = (byte >> 3U) & 0xFU;
    const unsigned fraction = byte & 7U;
    const float size = (byte & 0x7FU) == 0x7FU ? NAN
                       : exponent == 0         ? std::ldexp(float(fraction), -9)
                                       : std::ldexp(float(8 + fraction), int(exponent) - 10);
    return (byte & 0x80U) != 0 ? -size : size;
  }
  static float e5m2(unsigned byte) {
    const unsigned exponent = (byte >> 2U) & 0x1FU;
    const unsigned fraction = byte & 3U;
    const float size = exponent == 31  ? (fraction == 0 ? INFINITY : NAN)
                       : exponent == 0 ? std::ldexp(float(fraction), -16)
                                       : std::ldexp(float(4 + fraction), int(exponent) - 17);
    return (byte & 0x80U) != 0 ? -size : size;
  }

  // The extents of a block: quantization_config.weight_block_size.
  std::pair<index_t, index_t> block_size(const std::string& name) const {
    const auto& config = base_.config();
    if (config.is_object() && config.contains("quantization_config") &&
        config["quantization_config"].is_object() &&
        config["quantization_config"].contains("weight_block_size")) {
      const auto& size = config["quantization_config"]["weight_block_size"];
      if (size.is_array() && size.size() == 2 && size[0].is_number_unsigned() &&
          size[1].is_number_unsigned() && size[0] > 0 && size[1] > 0) {
        return {size[0].get<index_t>(), size[1].get<index_t>()};
      }
      if (!size.is_null()) {
        fail(name, "the weight_block_size of config.json is " + size.dump());
      }
    }
    return {128, 128};  // of DeepSeek's, where it comes from
  }

  coded_tensor fp8(const std::string& name) {
    const tensor_info& tensor = files_.info(name);
    coded_tensor coded;
    coded.shape = tensor.shape;
    const index_t rows = tensor.shape.empty() ? 1 : tensor.shape[0];
    const index_t columns = rows > 0 ? tensor.count() / rows : 0;
    const std::string module = name.substr(0, name.rfind('.'));
    std::string found;
    for (const std::string& scale :
         {name + "_scale_inv", name + "_scale", module + ".scale_weight"}) {
      if (files_.contains(scale)) {
        if (!found.empty()) {
          fail(name, "it has two scales, " + found + " and " + scale);
        }
        found = scale;
      }
    }
    std::vector<float> scales = {1};
    index_t down = std::max<index_t>(1, rows);  // entries that have one scale
    index_t across = std::max<index_t>(1, columns);
    if (!found.empty()) {
      scales = numbers(found, 0);
      const tensor_info& s = files_.info(found);
      const auto parts = [](index_t n, index_t of) { return (n + of - 1) / of; };
      if (s.count() == rows && rows > 1 && (s.shape.size() < 2 || s.shape[1] == 1)) {
        down = 1;
      } else if (s.count() != 1) {
        std::tie(down, across) = block_size(name);
        if (s.shape.size() != 2 || s.shape[0] != parts(rows, down) ||
            s.shape[1] != parts(columns, across)) {
          fail(found, "its shape is " + safetensors::shape_text(s.shape) + "; of " +
                          safetensors::shape_text(tensor.shape) +
                          " it is one number, one a row, or " + "one for each block of " +
                          std::to_string(down) + "×" + std::to_string(across));
        }
      }
      parts_.insert(module + ".input_scale");  // of the inputs of a product in FP8
      parts_.insert(module + ".scale_input");
    }
    const index_t blocks_across = across > 0 ? (columns + across - 1) / across : 1;
    std::array<float, 256> values{};  // of a byte
    for (unsigned byte = 0; byte < values.size(); ++byte) {
      values[byte] = tensor.type == dtype::F8_E4M3 ? e4m3(byte) : e5m2(byte);
    }
    coded.unpack = [bytes = tensor.bytes, values, scales, down, across, blocks_across, columns](
                       index_t row, float* to) {
      for (index_t j = 0; j < columns; ++j) {
        const auto byte = std::to_integer<std::size_t>(bytes[std::size_t(row * columns + j)]);
        to[j] = values[byte] * scales[std::size_t((row / down) * blocks_across + j / across)];
      }
    };
    return coded;
  }

  const base_model& base_;
  const safetensors::tensor_files& files_;
  coded_tensors coded_;
  std::set<std::string> parts_;
};

}  // namespace apps::adapter
