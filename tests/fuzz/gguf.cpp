// libFuzzer: any bytes as a GGUF file, a model's or an adapter's. Whatever they are, the reader either refuses them with io_error
// or invalid_argument, or gives metadata and tensors whose every promise holds, and a copy of them that
// can be read again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <preheat/gguf/adapter_tensors.hpp>
#include <preheat/gguf/decoder_config.hpp>
#include <preheat/gguf/gguf.hpp>
#include <preheat/gguf/row_order.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace gguf = preheat::gguf;
using preheat::index_t;

namespace {

void promise(bool holds) {
  if (!holds) {
    std::abort();
  }
}

void use_value(const gguf::metadata_value& value, int depth = 0) {
  promise(depth <= 8);
  promise(!gguf::type_text(value).empty());
  if (const auto items = gguf::items_of(value)) {
    const auto numbers = gguf::value_as<std::vector<double>>(value);
    const auto texts = gguf::value_as<std::vector<std::string>>(value);
    promise(!numbers || numbers->size() == items->size());
    promise(!texts || texts->size() == items->size());
    for (const gguf::metadata_value& item : *items) {
      use_value(item, depth + 1);
    }
    return;
  }
  const bool number = gguf::value_as<double>(value).has_value();
  const bool flag = gguf::value_as<bool>(value).has_value();
  const bool text = gguf::value_as<std::string>(value).has_value();
  promise(int(number) + int(flag) + int(text) == 1);
  if (const auto whole = gguf::value_as<std::int8_t>(value)) {
    promise(gguf::value_as<std::int64_t>(value) == std::int64_t(*whole));
  }
}

void use_tensor(const std::string& name, const gguf::tensor_info& tensor,
                std::span<const std::byte> file) {
  promise(tensor.bytes.empty() ||
          (file.data() <= tensor.bytes.data() &&
           tensor.bytes.data() + tensor.bytes.size() <= file.data() + file.size()));
  promise(tensor.count() / gguf::block_entries(tensor.type) * gguf::block_bytes(tensor.type) ==
          index_t(tensor.bytes.size()));
  promise(tensor.rows() * tensor.cols() == tensor.count());
  if (tensor.count() == 0 || !gguf::is_unpacked(tensor.type)) {
    return;
  }
  std::vector<float> rows(std::size_t(tensor.count()));
  gguf::read_rows<float>(name, tensor, 0,
                         preheat::view<float>(rows.data(), tensor.cols(), tensor.rows()));
  if (tensor.shape.size() == 2) {
    std::vector<float> matrix(rows.size());
    gguf::read_matrix<float>(name, tensor,
                             preheat::view<float>(matrix.data(), tensor.rows(), tensor.cols()));
    const std::size_t last = rows.size() - 1;
    promise(std::memcmp(&matrix[last], &rows[last], sizeof(float)) == 0);
  }
}

// Everything again in memory, as the writer lays it out.
void copy(const gguf::file_header& header) {
  gguf::metadata_writer metadata;
  std::vector<gguf::named_tensor> tensors;
  for (const auto& [key, value] : header.metadata) {
    metadata.set(key, value);
  }
  for (const auto& [name, tensor] : header.tensors) {
    gguf::detail::check_tensor(name, tensor);
    tensors.push_back({name, tensor});
  }
  if (metadata.alignment() > 4096) {
    return;  // much padding
  }
  std::vector<std::byte> file = gguf::detail::header_bytes(tensors, metadata);
  for (const gguf::named_tensor& one : tensors) {
    gguf::detail::append(file, one.tensor.bytes);
    file.resize(file.size() + gguf::detail::padding_to(metadata.alignment(), file.size()));
  }
  const gguf::file_header again = gguf::parse_header(file, "again");
  promise(again.metadata.size() == header.metadata.size());
  promise(again.tensors.size() == header.tensors.size());
  for (const auto& [name, tensor] : header.tensors) {
    const gguf::tensor_info& other = again.tensors.at(name);
    promise(other.shape == tensor.shape && other.type == tensor.type);
    promise(std::equal(other.bytes.begin(), other.bytes.end(), tensor.bytes.begin(),
                       tensor.bytes.end()));
  }
}

// An adapter's header is refused, or each of its pairs of factors goes together.
void use_adapter(const gguf::file_header& header) {
  try {
    const auto adapter = gguf::detail::read_adapter_header(header, "input");
    promise(!adapter.pairs.empty() && adapter.pairs.size() * 2 == header.tensors.size());
    for (const auto& pair : adapter.pairs) {
      const auto& A = header.tensors.at(pair.weight + std::string(gguf::detail::factor_a));
      const auto& B = header.tensors.at(pair.weight + std::string(gguf::detail::factor_b));
      promise(!pair.layer.empty() && pair.rank >= 1);
      promise(A.count() == pair.rank * pair.in && B.count() == pair.out * pair.rank);
      gguf::detail::has_rows_in_pairs(adapter.architecture, pair.layer);
    }
  } catch (const preheat::io_error&) {
  } catch (const preheat::invalid_argument&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto file = std::as_bytes(std::span(data, size));
  try {
    const gguf::file_header header = gguf::parse_header(file, "input");
    for (const auto& [key, value] : header.metadata) {
      use_value(value);
    }
    for (const auto& [name, tensor] : header.tensors) {
      use_tensor(name, tensor, file);
      gguf::hugging_face_name("llama", name);
    }
    try {
      copy(header);
    } catch (const preheat::invalid_argument&) {  // what the writer's narrower limits refuse
    }
    use_adapter(header);
    gguf::metadata_reader metadata(header.metadata, "input");
    promise(metadata.unread().size() == header.metadata.size());
    const preheat::nn::decoder_config c = gguf::read_decoder_config(header, "input");
    promise(c.blocks >= 1 && c.heads * c.head_size >= 2 && c.vocab_size >= 1);
  } catch (const preheat::io_error&) {
  } catch (const preheat::invalid_argument&) {
  }
  return 0;
}
