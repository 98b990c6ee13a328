// Pictures of a run's losses.
#pragma once
#include <filesystem>
#include <string>

namespace apps::finetune {

// Draws the lines of log.jsonl as loss.svg and loss.png in this folder, whose script and data stay beside
// them. Returns what to tell the user. Errors: std::runtime_error: a file cannot be written.
std::string draw_curves(const std::filesystem::path& folder, const std::string& log);

}  // namespace apps::finetune
