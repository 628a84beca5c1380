// Write the mask of a picture with ONNX Runtime alone. The model must take pictures:
//     u2net export --io image -o fused.onnx
// Build, with the folder of an unpacked ONNX Runtime release, or without one on Debian 13 with libonnxruntime-dev:
//     cmake -S examples/cpp -B build/cpp -DCMAKE_PREFIX_PATH=/absolute/path && cmake --build build/cpp
// Run, on a binary PPM as `convert photo.jpg photo.ppm` writes it; the mask is a PGM of the same size:
//     build/cpp/mask fused.onnx photo.ppm mask.pgm

#include <onnxruntime_cxx_api.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <limits>
#include <stdexcept>
#include <string>
#include <vector>

using Path = std::filesystem::path;

struct Picture {
    int64_t height, width;
    std::vector<uint8_t> values;  // row by row; RGB, or grey in a mask
};

[[noreturn]] void fail(const Path& path, const std::string& what) {
    throw std::runtime_error(path.string() + ' ' + what);
}

std::string size_text(int64_t width, int64_t height) {
    return std::to_string(width) + " by " + std::to_string(height) + " pixels";
}

// Reads one number of a PPM's header, past white space and comments. Returns 0 if there is none.
int64_t read_number(std::istream& file) {
    while ((file >> std::ws).peek() == '#') {
        file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
    }
    int32_t number = 0;
    return file >> number ? number : 0;
}

Picture read_ppm(const Path& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) fail(path, "cannot be read");
    if (file.get() != 'P' || file.get() != '6') fail(path, "is no binary PPM, which begins with P6");
    const int64_t width = read_number(file), height = read_number(file), largest = read_number(file);
    if (width < 1 || height < 1 || largest != 255) fail(path, "is no PPM of some width and height with values to 255");
    file.get();  // the one white space that ends the header
    Picture picture{height, width, {std::istreambuf_iterator<char>(file), {}}};
    const uint64_t expected = 3 * static_cast<uint64_t>(width) * static_cast<uint64_t>(height);
    if (picture.values.size() != expected) {
        fail(path, "holds " + std::to_string(picture.values.size()) + " bytes of pixels; " + size_text(width, height) +
                       ", as its header says, are " + std::to_string(expected));
    }
    return picture;
}

// Turns the model's mask into grey levels, whether it was exported with --mask uint8 or float32.
std::vector<uint8_t> to_grey(const Ort::Value& mask, const Path& model) {
    const auto info = mask.GetTensorTypeAndShapeInfo();
    const size_t count = info.GetElementCount();
    if (info.GetElementType() == ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8) {
        const auto* levels = mask.GetTensorData<uint8_t>();
        return {levels, levels + count};
    }
    if (info.GetElementType() != ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT) fail(model, "gives neither uint8 nor float32");
    const auto* values = mask.GetTensorData<float>();
    std::vector<uint8_t> grey(count);
    for (size_t index = 0; index < count; ++index) {
        if (!std::isfinite(values[index])) fail(model, "gave NaN or Inf");
        grey[index] = static_cast<uint8_t>(std::nearbyint(255 * values[index]));
    }
    return grey;
}

Picture compute_mask(const Path& model, Picture& image) {
    const Ort::Env env(ORT_LOGGING_LEVEL_FATAL);  // what is an error is also thrown
    Ort::Session session(env, model.c_str(), Ort::SessionOptions());  // in a server: load once, run from any thread
    Ort::AllocatorWithDefaultOptions allocator;
    if (session.GetInputCount() != 1 || session.GetInputNameAllocated(0, allocator).get() != std::string("image") ||
        session.GetOutputCount() != 1 || session.GetOutputNameAllocated(0, allocator).get() != std::string("mask")) {
        fail(model, "does not take pictures and give masks; export it with u2net export --io image");
    }
    const std::array<int64_t, 4> shape{1, image.height, image.width, 3};
    const auto taken = session.GetInputTypeInfo(0).GetTensorTypeAndShapeInfo().GetShape();  // -1 is any
    if (taken.size() == 4 && ((taken[1] > 0 && taken[1] != shape[1]) || (taken[2] > 0 && taken[2] != shape[2]))) {
        fail(model, "takes pictures of " + size_text(taken[2], taken[1]) + "; this one has " +
                        size_text(image.width, image.height));
    }
    const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    const auto input = Ort::Value::CreateTensor<uint8_t>(memory, image.values.data(), image.values.size(),
                                                         shape.data(), shape.size());
    const char *const inputs[]{"image"}, *const outputs[]{"mask"};
    const auto found = session.Run(Ort::RunOptions(), inputs, &input, 1, outputs, 1);
    return {image.height, image.width, to_grey(found.front(), model)};
}

void write_pgm(const Path& path, const Picture& mask) {
    std::ofstream file(path, std::ios::binary);
    file << "P5\n" << mask.width << ' ' << mask.height << "\n255\n";
    file.write(reinterpret_cast<const char*>(mask.values.data()), static_cast<std::streamsize>(mask.values.size()));
    file.close();
    if (!file) fail(path, "cannot be written");
}

int main(int count, char** words) try {
    if (count != 4) throw std::runtime_error("usage: mask MODEL.onnx PICTURE.ppm MASK.pgm");
    Picture image = read_ppm(words[2]);
    write_pgm(words[3], compute_mask(words[1], image));
    return 0;
} catch (const std::exception& error) {
    std::cerr << "mask: " << error.what() << '\n';
    return 1;
}
