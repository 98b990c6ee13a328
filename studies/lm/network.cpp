#include "network.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>

namespace studies::lm {
namespace {

// Columns of logits, whose rows s, s + slices, s + 2·slices, … are slice s, so that a GPU has many slices to work at
// and its neighbouring threads read neighbouring numbers. A label is the row that is right; columns with a negative
// one count nothing.
template <class T>
struct sliced_logits {
  const T* logits;
  index_t ld;
  index_t rows;
  index_t slices;
  const T* labels;

  constexpr bool counts(index_t column) const { return labels[column] >= 0; }
  constexpr T largest(index_t slice, index_t column) const {
    const T* const z = logits + column * ld;
    T top = z[slice];
    for (index_t i = slice + slices; i < rows; i += slices) {
      top = z[i] > top ? z[i] : top;
    }
    return top;
  }
  constexpr double sum_of_exp(index_t slice, index_t column, T top) const {
    const T* const z = logits + column * ld;
    double sum = 0;
    for (index_t i = slice; i < rows; i += slices) {
      sum += double(std::exp(z[i] - top));
    }
    return sum;
  }
  constexpr T at_label(index_t column) const {
    return logits[column * ld + index_t(labels[column])];
  }
};

template <class T>
constexpr T largest_of(const T* numbers, index_t count) {
  T top = numbers[0];
  for (index_t i = 1; i < count; ++i) {
    top = numbers[i] > top ? numbers[i] : top;
  }
  return top;
}

// The entry of a slice and a column becomes its largest logit; then, with these, its sum of exp(z − z_max).
template <class T>
struct tops_of_slices {
  sliced_logits<T> z;
  constexpr void operator()(index_t k, T& top) const {
    const index_t column = k / z.slices;
    top = z.counts(column) ? z.largest(k % z.slices, column) : T(0);
  }
};
template <class T>
struct sums_of_slices {
  sliced_logits<T> z;
  const T* tops;
  constexpr void operator()(index_t k, T& sum) const {
    const index_t column = k / z.slices;
    sum = T(0);
    if (z.counts(column)) {
      sum = T(z.sum_of_exp(k % z.slices, column, largest_of(tops + column * z.slices, z.slices)));
    }
  }
};
// The entry of a column becomes −log softmax(z)[label], and 1 if no logit is larger than that one.
template <class T>
struct scores_of_columns {
  sliced_logits<T> z;
  const T* tops;
  const T* sums;
  constexpr void operator()(index_t column, T& loss, T& right) const {
    loss = 0;
    right = 0;
    if (!z.counts(column)) {
      return;
    }
    const T top = largest_of(tops + column * z.slices, z.slices);
    double sum = 0;
    for (index_t s = 0; s < z.slices; ++s) {
      sum += double(sums[column * z.slices + s]);
    }
    const T own = z.at_label(column);
    loss = T(std::log(sum) + double(top) - double(own));
    right = own == top ? T(1) : T(0);
  }
};

// For every token the one after it, if that counts; −1 elsewhere.
std::vector<float> next_labels(const batch& texts) {
  std::vector<float> labels;
  index_t end = 0;
  for (const index_t length : texts.lengths) {
    end += length;
    for (index_t t = end - length + 1; t <= end; ++t) {
      const index_t next = t < end ? texts.labels[std::size_t(t)] : preheat::nn::not_counted;
      labels.push_back(next == preheat::nn::not_counted ? -1.0f : float(next));
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
  std::vector<example> ordered(examples.begin(), examples.end());
  if (computes_on_gpu) {  // those of about one length together
    std::stable_sort(ordered.begin(), ordered.end(), [](const example& a, const example& b) {
      return a.ids.size() < b.ids.size();
    });
  }
  backend_type& be = backend();
  double loss = 0;
  double right = 0;
  for (std::size_t first = 0; first < ordered.size(); first += most_at_once) {
    const std::span<const example> some = std::span<const example>(ordered).subspan(
        first, std::min(most_at_once, ordered.size() - first));
    batch texts = batch_of<backend_type>(some);
    if (computes_on_gpu) {
      make_equally_long(texts);
    }
    const preheat::const_view_of<backend_type> Z = model_.forward(texts, linear);
    preheat::mat<backend_type> labels = be.zeros(1, Z.cols());
    be.upload(next_labels(texts), labels);
    const index_t slices = std::min<index_t>(computes_on_gpu ? 128 : 1, Z.rows());
    const sliced_logits<float> z{Z.data(), Z.ld(), Z.rows(), slices, labels.data()};
    preheat::mat<backend_type> tops = be.zeros(slices, Z.cols());
    be.apply_indexed(tops_of_slices<float>{z}, tops);
    preheat::mat<backend_type> sums = be.zeros(slices, Z.cols());
    be.apply_indexed(sums_of_slices<float>{z, tops.data()}, sums);
    preheat::mat<backend_type> losses = be.zeros(1, Z.cols());
    preheat::mat<backend_type> hits = be.zeros(1, Z.cols());
    be.apply_indexed(scores_of_columns<float>{z, tops.data(), sums.data()}, losses, hits);
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
