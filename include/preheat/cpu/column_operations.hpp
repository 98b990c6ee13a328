// Softmax and layer normalization of columns on the CPU (nn/encoder_backend.hpp says what they
// compute); shapes fit. Each column is read from memory once: the passes over it stay in cache.
#pragma once
#include <cmath>

#include "matrix.hpp"

namespace preheat::column_operations {

template <class T>
void softmax(view<T> x) {
  auto X = eigen_map(x);
  for (index_t j = 0; j < (x.empty() ? 0 : x.cols()); ++j) {
    auto column = X.col(j).array();
    column = (column - column.maxCoeff()).exp();
    column *= T(1) / column.sum();
  }
}

template <class T>
void softmax_gradient(view<const T> p, view<T> d) {
  const auto P = eigen_map(p);
  auto D = eigen_map(d);
  for (index_t j = 0; j < d.cols(); ++j) {
    const T mean = P.col(j).dot(D.col(j));
    D.col(j).array() = P.col(j).array() * (D.col(j).array() - mean);
  }
}

template <class T>
void layer_norm(T epsilon, view<const T> gamma, view<const T> beta, view<T> x, view<T> r,
                view<T> y) {
  const auto G = eigen_map(gamma).col(0).array();
  const auto B = eigen_map(beta).col(0).array();
  auto X = eigen_map(x);
  auto Y = eigen_map(y);
  for (index_t j = 0; j < x.cols(); ++j) {
    auto column = X.col(j).array();
    column -= column.mean();
    const T inverse = T(1) / std::sqrt(column.square().mean() + epsilon);
    column *= inverse;
    r.data()[j] = inverse;
    Y.col(j).array() = G * column + B;
  }
}

template <class T>
void layer_norm_gradient(view<const T> gamma, view<const T> x, view<const T> r, view<T> d) {
  const auto G = eigen_map(gamma).col(0).array();
  const auto X = eigen_map(x);
  auto D = eigen_map(d);
  for (index_t j = 0; j < d.cols(); ++j) {
    auto column = D.col(j).array();
    column *= G;
    const T mean = column.mean();
    const T slope = (column * X.col(j).array()).mean();
    column = r.data()[j] * (column - mean - X.col(j).array() * slope);
  }
}

}  // namespace preheat::column_operations
