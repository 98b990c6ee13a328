// Dropout between the layers of a network. Each place of dropout has a rate (0: off) and a stream
// of its own; forward and backward apply the same mask in place.
#pragma once
#include "../core/concepts.hpp"
#include "../core/dropout_kernel.hpp"

namespace preheat::nn {

struct dropout_stream {
  double rate = 0;
  generator stream{};

  bool on() const { return rate > 0; }
  // The place of dropout with this number inside this one.
  dropout_stream fork(std::uint64_t number) const {
    return {rate, stream.fork(purpose::dropout, number)};
  }
};

// x is of scalars, or of activations.
template <backend Be, class Number>
void apply_dropout(Be& be, const dropout_stream& site, view<Number> x) {
  if (site.on()) {
    be.apply_indexed(dropout_kernel<scalar_of<Be>>{site.rate, site.stream}, x,
                     view<const Number>(x));
  }
}
// y = x with the mask applied; x itself if the rate is 0. `place` is the memory for y.
template <backend Be, class Number>
view<const Number> with_dropout(Be& be, const dropout_stream& site, view<const Number> x,
                                matrix_of<Be, Number>& place) {
  if (!site.on()) {
    return x;
  }
  be.resize(place, x.rows(), x.cols());
  be.apply_indexed(dropout_kernel<scalar_of<Be>>{site.rate, site.stream}, place, x);
  return place;
}

// The same for consecutive blocks of so many entries: block k has the mask of site.fork(first + k).
template <class T>
struct block_dropout_kernel {
  double rate;
  generator stream;
  index_t entries;
  std::uint64_t first;
  constexpr void operator()(index_t i, T& x, const T& y) const {
    const std::uint64_t number = first + std::uint64_t(i / entries);
    dropout_kernel<T>{rate, stream.fork(purpose::dropout, number)}(i % entries, x, y);
  }
};
template <backend Be, class Number>
void apply_block_dropout(Be& be, const dropout_stream& site, index_t entries, std::uint64_t first,
                         view<Number> x) {
  if (site.on()) {
    be.apply_indexed(block_dropout_kernel<scalar_of<Be>>{site.rate, site.stream, entries, first}, x,
                     view<const Number>(x));
  }
}
template <backend Be, class Number>
view<Number> with_block_dropout(Be& be, const dropout_stream& site, index_t entries,
                                std::uint64_t first, view<Number> x, matrix_of<Be, Number>& place) {
  if (!site.on()) {
    return x;
  }
  be.resize(place, x.rows(), x.cols());
  be.apply_indexed(block_dropout_kernel<scalar_of<Be>>{site.rate, site.stream, entries, first},
                   place, view<const Number>(x));
  return place;
}

}  // namespace preheat::nn
