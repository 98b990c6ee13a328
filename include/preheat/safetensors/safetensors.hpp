// Safetensors files: named tensors and a few strings of metadata in one file, by a header of JSON
// and the tensors' bytes behind it. The pieces:
//
//   reader.hpp              opens a file in place and gives tensors as values, column-major matrices
//                           or views
//   writer.hpp, stream.hpp  write files, whole or piece by piece; they appear whole or not at all
//   header.hpp              the format, and every check that a file passes before it is used
//   layout.hpp              the header of a file to be written
//   tensor_info.hpp         one tensor: dtype, shape, bytes
//   dtype.hpp, float16.hpp  element types and conversions between them
//
// tensor_files.hpp opens a model in shards, tensor_values.hpp reads rows into a matrix without a copy
// of the whole, and checkpoint.hpp keeps a run's state in such a file.
//
// A complete program that turns a weight to bfloat16:
//
//   #include <preheat/safetensors/safetensors.hpp>
//
//   int main() {
//     namespace safetensors = preheat::safetensors;
//     const safetensors::reader file("model.safetensors");
//     const std::vector<float> weight = file.values<float>("encoder.weight");
//     safetensors::writer writer;
//     writer.add<float>("encoder.weight", file.info("encoder.weight").shape, weight,
//                       safetensors::dtype::BF16);
//     writer.write("model_bf16.safetensors");
//   }
#pragma once
#include "header.hpp"
#include "reader.hpp"
#include "stream.hpp"
#include "writer.hpp"
