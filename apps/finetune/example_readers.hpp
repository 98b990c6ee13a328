// How the kinds of files become examples. Each adds to a set, and refuses by place what it does not understand.
#pragma once
#include <functional>
#include <string>
#include <string_view>

#include "examples.hpp"

namespace apps::finetune {

// Takes an example into the set, as its length and its labels allow.
void take(example_set& set, example e, const reading_options& o);

// Lines of JSON. Errors: io_error, with the number of the line.
void read_jsonl(std::string_view text, const std::string& source, const base_model& model,
                const reading_options& o, example_set& set);

// The same with the classes of an encoder.
void read_classified(std::string_view text, const std::string& source, const base_model& model,
                     const reading_options& o, example_set& set);

// Calls f(object, place) with every line of JSON. Errors: io_error, with the number of the line.
void each_json_line(std::string_view text, const std::string& source,
                    const std::function<void(const nlohmann::json&, const std::string&)>& f);

// A text, which becomes several examples if it is long. Errors: io_error: it is not UTF-8.
void read_text(std::string_view text, const std::string& source, const base_model& model,
               const reading_options& o, example_set& set);

// Tensors of tokens in a safetensors file. Errors: io_error, with the tensor or the row.
void read_tokens(const std::filesystem::path& path, const base_model& model,
                 const reading_options& o, example_set& set);

}  // namespace apps::finetune
