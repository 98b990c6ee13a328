// Trains adapters on tiny language models with fit and saves them with peft::save, for interop.py.
#pragma once
#include <filesystem>

// MODELS has a folder base for each model; OUT/<model>/adapter and OUT/<model>/logits.safetensors are
// written: logits, tokens × vocabulary, of the text 3, 4, …, 14, and the greedy tokens after 3, 4, 5, 6.
void train_decoders(const std::filesystem::path& models, const std::filesystem::path& out);
