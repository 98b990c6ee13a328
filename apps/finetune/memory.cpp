#include "memory.hpp"

#include <algorithm>
#include <functional>
#include <numeric>

#include <fmt/format.h>

#include <preheat/gguf/decoder_config.hpp>
#include <preheat/huggingface/bert.hpp>
#include <preheat/huggingface/decoder_config.hpp>
#include <preheat/nn/decoder_memory.hpp>
#include <preheat/train/start.hpp>

namespace apps::finetune {
namespace {

namespace nn = preheat::nn;
using preheat::weight_storage;

constexpr double number = sizeof(preheat::scalar_of<Be>);
constexpr double activation = sizeof(preheat::activation_of<Be>);

// A frozen number's bytes, but where the file decides.
double bytes_of_number(weight_storage storage) {
  return storage == weight_storage::bf16 ? 2 : storage == weight_storage::nf4 ? 4.127 / 8 : number;
}

// The file, or the files of weights in the folder.
double bytes_of_files(const std::filesystem::path& path) {
  if (!std::filesystem::is_directory(path)) {
    return double(std::filesystem::file_size(path));
  }
  double bytes = 0;
  for (const auto& file : std::filesystem::directory_iterator(path)) {
    bytes += file.path().extension() == ".safetensors" ? double(file.file_size()) : 0;
  }
  return bytes;
}

// Numbers of an encoder's frozen weights.
nn::decoder_weight_numbers weight_numbers(const nn::bert_config& c) {
  const double hidden = double(c.hidden_size);
  const double block = 4 * hidden * hidden + 2 * hidden * double(c.intermediate_size);
  return {
      .linear = double(c.num_hidden_layers) * block + hidden * hidden,
      .embedding = hidden * double(c.vocab_size + c.max_position_embeddings + c.type_vocab_size)};
}

// Numbers that a training pass of an encoder keeps: of a block the outputs of its linear layers, attention's
// result and probabilities, both norms, GELU's result and derivative; two of the adapter's rank for each
// layer; and once for all blocks the gradients of inputs and of Q, K and V, and the embeddings.
double activation_numbers(const nn::bert_config& c, const std::vector<index_t>& lengths,
                          double rank, bool dropout) {
  double tokens = 0;
  for (const index_t length : lengths) {
    tokens += double(length);
  }
  const double longest = lengths.empty() ? 0 : double(lengths.front());
  const double hidden = double(c.hidden_size);
  const double wide = double(c.intermediate_size);
  const double block = 8 * hidden + 3 * wide + longest * double(c.num_attention_heads) +
                       2 * rank * double(nn::linear_layers_per_block) +
                       (dropout ? 2 * (5 * hidden + wide) : 0);
  const double shared = 5 * hidden + wide + 3 * hidden + 3 * hidden;
  return tokens * (double(c.num_hidden_layers) * block + shared);
}

// On a GPU the embedding is dense.
double bytes_of_weights(const std::filesystem::path& path, const nn::decoder_config& c,
                        weight_storage storage) {
  const nn::decoder_weight_numbers numbers = nn::weight_numbers(c);
  if (computes_on_gpu && storage != weight_storage::dense) {
    const double linear = storage == weight_storage::as_stored
                              ? bytes_of_files(path)
                              : bytes_of_number(storage) * numbers.linear;
    return linear + activation * numbers.embedding;
  }
  return storage == weight_storage::as_stored ? bytes_of_files(path)
                                              : bytes_of_number(storage) * numbers.all();
}

nn::decoder_config config_of(const std::filesystem::path& path) {
  return std::filesystem::is_directory(path)
             ? preheat::huggingface::read_decoder_config(path)
             : preheat::gguf::read_decoder_config(preheat::gguf::reader(path));
}

// The largest sizes come first.
std::vector<index_t> falling(std::vector<index_t> values) {
  std::sort(values.begin(), values.end(), std::greater<>());
  return values;
}

// Texts that are as many and as long as those of no batch: the longest rows, or the longest evaluation.
std::vector<index_t> longest_texts(const material& m) {
  const auto length_of = [&](const example& e) {
    const auto length = index_t(e.ids.size());
    const bool rounded = computes_on_gpu && !m.model.net.classifies();
    return rounded
               ? studies::common::rounded_length(length, length_on_gpu, m.model.net.most_tokens())
               : length;
  };
  std::vector<index_t> rows;
  for (const auto& row : m.rows) {
    index_t tokens = 0;
    for (const std::size_t i : row) {
      tokens += length_of(m.train[i]);
    }
    rows.push_back(tokens);
  }
  rows = falling(std::move(rows));
  rows.resize(std::min(rows.size(), std::size_t(m.o.batch)));
  std::vector<index_t> held_out;
  for (const example& e : m.eval) {
    held_out.push_back(length_of(e));
  }
  held_out = falling(std::move(held_out));
  index_t tokens = 0;
  std::size_t count = 0;
  while (count < held_out.size() &&
         (count == 0 || tokens + held_out[count] <= network::most_evaluated_tokens)) {
    tokens += held_out[count++];
  }
  held_out.resize(count);
  return tokens > std::accumulate(rows.begin(), rows.end(), index_t(0)) ? held_out : rows;
}

// Tiles of attention that are computed at once: one a thread, or on a GPU all heads of texts of one length,
// of which all may be, in tiles that are twice those of nn::decoder_pass_size.
index_t tiles_at_once(const Be& be, const nn::decoder_config& c, std::size_t texts) {
  return nn::attends_in_grids<Be> ? 2 * c.heads * index_t(texts) : nn::workers_of(be);
}

void require(double wanted, const training_options& o, const std::string& what, double held) {
  const double there = available_memory();
  const double most = o.memory > 0 ? o.memory : there > 0 ? there + held : 0;
  if (most > 0 && wanted > most) {
    throw preheat::invalid_argument(fmt::format(
        "{}, and it may take {:.2f} GB ({}); a smaller --batch or --seq, --recompute blocks, "
        "--storage bf16 or nf4 take less",
        what, most * 1e-9, o.memory > 0 ? "--memory" : "what the machine has to give"));
  }
}

}  // namespace

std::string memory_statement::describe() const {
  return fmt::format(
      "memory: about {:.3f} GB (weights {:.3f}, adapters {:.3f}, activations {:.3f}, program "
      "{:.3f})",
      all() * 1e-9, weights * 1e-9, adapters * 1e-9, activations * 1e-9, program * 1e-9);
}

memory_statement memory_of(const material& m, const method_entry& method) {
  const bool encoder = m.model.net.classifies();
  const nn::decoder_weight_numbers numbers = encoder
                                                 ? weight_numbers(m.model.net.as_encoder().config())
                                                 : nn::weight_numbers(m.model.net.config());
  memory_statement wanted;
  wanted.program = 6e7;
  wanted.weights = encoder ? number * numbers.all()
                           : bytes_of_weights(m.model.path, m.model.net.config(), m.o.storage);
  double pairs = 0;     // numbers of a pair of rank 1 in every layer
  double matrices = 0;  // numbers of the layers
  const preheat::fit_options f = fit_options_of(m, {&method, 0, 0});
  for (const index_t l : preheat::target_layers(m.model.net, f.targets)) {
    const auto& W = m.model.net.layers()[std::size_t(l)].W;
    pairs += double(W.rows() + W.cols());
    matrices += double(W.rows()) * double(W.cols());
  }
  if (method.changes_base) {
    wanted.weights += number * numbers.linear;
  }
  const double rank =
      double(f.layer_ranks.empty() ? f.rank
                                   : *std::max_element(f.layer_ranks.begin(), f.layer_ranks.end()));
  const method_memory& of = method.memory;
  const double later = of.pairs * rank * pairs + of.matrices * matrices;
  const double start = of.start_pairs * of.start_rank * rank * pairs + of.start_matrices * matrices;
  wanted.adapters = number * std::max(later, start);

  const std::vector<index_t> lengths = longest_texts(m);
  const double pass_rank = rank * (start > later ? of.start_rank : 1);
  if (encoder) {
    wanted.activations = activation * activation_numbers(m.model.net.as_encoder().config(), lengths,
                                                         pass_rank, f.dropout > 0);
    return wanted;
  }
  nn::decoder_pass_size pass{.lengths = lengths, .again = m.model.recompute};
  for (const index_t length : lengths) {
    pass.predicted += length;
  }
  pass.rank = index_t(pass_rank);
  pass.dropout = f.dropout > 0;
  const nn::decoder_config& c = m.model.net.config();
  pass.workers = tiles_at_once(m.model.net.backend(), c, lengths.size());
  wanted.activations = activation * nn::memory_of(c, pass).all();
  return wanted;
}

void require_weights_fit(const training_options& o, bool encoder) {
  if (!computes_on_gpu && o.storage == weight_storage::as_stored) {
    return;  // pages of a file, which the system may drop
  }
  const double wanted =
      encoder ? number * weight_numbers(preheat::huggingface::read_bert_config(o.model)).all()
              : bytes_of_weights(o.model, config_of(o.model), o.storage);
  require(wanted, o, fmt::format("the model's weights take {:.2f} GB", wanted * 1e-9), 0);
}

void require_fits(const memory_statement& wanted, const training_options& o, double held) {
  require(wanted.all(), o, wanted.describe(), held);
}

}  // namespace apps::finetune
