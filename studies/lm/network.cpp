#include "network.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace studies::lm {
namespace {

// One column of logits for an entry k: −log softmax(z_k)[label_k] in double precision, and whether no logit is
// larger than that one. A label that is negative counts nothing.
template <class T>
struct score_of_column {
  const T* logits;
  index_t ld;
  index_t rows;
  constexpr void operator()(index_t k, T& loss, T& right, const T& label) const {
    loss = 0;
    right = 0;
    if (label < 0) {
      return;
    }
    const T* const z = logits + k * ld;
    T largest = z[0];
    for (index_t i = 1; i < rows; ++i) {
      largest = z[i] > largest ? z[i] : largest;
    }
    double sum = 0;
    for (index_t i = 0; i < rows; ++i) {
      sum += double(std::exp(z[i] - largest));
    }
    const T own = z[index_t(label)];
    loss = T(std::log(sum) + double(largest) - double(own));
    right = own == largest ? T(1) : T(0);
  }
};

// For every token the one after it, if that counts; −1 elsewhere.
std::vector<float> next_labels(std::span<const example> examples) {
  std::vector<float> labels;
  for (const example& e : examples) {
    for (std::size_t t = 1; t <= e.ids.size(); ++t) {
      const bool counts = t < e.ids.size() && t >= e.prompt;
      labels.push_back(counts ? float(e.ids[t]) : -1.0f);
    }
  }
  return labels;
}

double sum_of(const std::vector<float>& numbers) {
  double sum = 0;
  for (const float x : numbers) {
    sum += double(x);
  }
  return sum;
}

}  // namespace

network network::copy() const {
  return network(model_.copy());
}

float network::loss_of(const batch_type& texts, any_linear& linear) {
  return model_.loss(texts, linear);
}

float network::gradient_pass(const batch_type& texts, any_linear& linear) {
  return model_.loss_and_gradient(texts, linear);
}

common::score network::score_of(std::span<const example> examples, any_linear& linear) {
  constexpr std::size_t most_at_once = computes_on_gpu ? 64 : 8;
  backend_type& be = backend();
  double loss = 0;
  double right = 0;
  for (std::size_t first = 0; first < examples.size(); first += most_at_once) {
    const std::span<const example> some =
        examples.subspan(first, std::min(most_at_once, examples.size() - first));
    const preheat::const_view_of<backend_type> Z =
        model_.forward(batch_of<backend_type>(some), linear);
    preheat::mat<backend_type> labels = be.zeros(1, Z.cols());
    be.upload(next_labels(some), labels);
    preheat::mat<backend_type> losses = be.zeros(1, Z.cols());
    preheat::mat<backend_type> hits = be.zeros(1, Z.cols());
    be.apply_indexed(score_of_column<float>{Z.data(), Z.ld(), Z.rows()}, losses, hits, labels);
    loss += sum_of(be.download(losses));
    right += sum_of(be.download(hits));
  }
  const double tokens = double(counted_in(examples));
  return {loss / tokens, right / tokens};
}

std::vector<index_t> network::answer(std::span<const index_t> prompt, any_linear& linear,
                                     const preheat::nn::generate_options& o) {
  return preheat::nn::generate(model_, linear, prompt, o);
}

}  // namespace studies::lm
