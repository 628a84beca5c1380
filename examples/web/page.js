// Cut-outs by onnxruntime-web and a file of `u2net export --io image`, which takes RGB bytes and gives masks.
const LONGEST = 2048; // pixels of a side; larger pictures are scaled down to spare memory
const MOST_THREADS = 8;
const [stage, hint, canvas, file, camera, save, output] = document.querySelectorAll("figure, figure p, canvas, input, button, output");
const scratch = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
const video = Object.assign(document.createElement("video"), { muted: true, playsInline: true });
const provider = new URLSearchParams(location.search).get("ep") === "webgpu" ? "webgpu" : "wasm"; // webgpu is untested
let ort, stream = null, queue = Promise.resolve();

const say = (textContent, className = "") => Object.assign(output, { textContent, className, ariaLive: stream ? "off" : "polite" });

async function load() {
  ort = await import(`./node_modules/onnxruntime-web/dist/ort.${provider}.min.mjs`);
  ort.env.wasm.numThreads = crossOriginIsolated ? Math.min(navigator.hardwareConcurrency, MOST_THREADS) : 1;
  ort.env.wasm.proxy = provider === "wasm"; // a worker computes, so that the page answers meanwhile
  const session = await ort.InferenceSession.create("model.onnx", { executionProviders: [provider] });
  if (session.inputNames[0] !== "image") throw new Error("model.onnx takes no images; export it with --io image");
  return session;
}

function read(source, width, height) {
  const scale = Math.min(1, LONGEST / Math.max(width, height));
  [scratch.canvas.width, scratch.canvas.height] = [width, height].map((side) => Math.ceil(side * scale));
  scratch.drawImage(source, 0, 0, scratch.canvas.width, scratch.canvas.height);
  return scratch.getImageData(0, 0, scratch.canvas.width, scratch.canvas.height);
}

function show(pixels, busy) {
  Object.assign(canvas, { width: pixels.width, height: pixels.height, hidden: false, ariaBusy: busy });
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  stage.className = "full";
  hint.hidden = true;
  save.disabled = busy;
}

async function cutOut(pixels) {
  const session = await model, { data, width, height } = pixels;
  const rgb = data.filter((_, index) => index % 4 < 3);
  const started = performance.now();
  const { mask } = await session.run({ image: new ort.Tensor("uint8", rgb, [1, height, width, 3]) });
  const ms = Math.round(performance.now() - started), threads = ort.env.wasm.numThreads;
  const opaque = mask.type === "uint8" ? 255 : 1;
  mask.data.forEach((value, index) => { data[4 * index + 3] *= value / opaque; });
  show(pixels, false);
  say(`${width} × ${height} pixels, ${ms} ms for the mask, ${threads} thread${threads > 1 ? "s" : ""} (${provider})`);
}

// A session computes one mask at a time, so one thing is done after the other.
function enqueue(action) {
  return queue = queue.then(action).catch((error) => {
    stop();
    canvas.ariaBusy = false;
    say(error.message, "bad");
  });
}

function open(picture) {
  stop();
  enqueue(async () => {
    const bitmap = await createImageBitmap(picture).catch(() => {
      throw new Error(`${picture.name} cannot be read as a picture. Choose a JPEG, PNG or WebP file.`);
    });
    const pixels = read(bitmap, bitmap.width, bitmap.height);
    show(pixels, true);
    say("Computing the mask …");
    await cutOut(pixels);
  });
}

function stop() {
  stream?.getTracks().forEach((track) => track.stop());
  stream = null;
  camera.textContent = "Start the camera";
}

async function film() {
  if (stream) return; // the button was pressed twice before the model was there
  const own = stream = await navigator.mediaDevices.getUserMedia({ video: { width: 640 } }).catch((error) => {
    throw new Error(`The camera cannot be used (${error.message}).`);
  });
  camera.textContent = "Stop the camera";
  video.srcObject = stream;
  await video.play();
  (async () => {
    while (stream === own) await enqueue(() => cutOut(read(video, video.videoWidth, video.videoHeight)));
  })();
}

say("Loading the model …");
const model = load().catch((error) => {
  throw new Error(`The model cannot be loaded (${error.message}). Run "make web", which installs and exports what is needed.`);
});
enqueue(async () => { await model; say("Ready."); });
file.onchange = () => { if (file.files[0]) open(file.files[0]); file.value = ""; };
camera.onclick = () => stream ? stop() : enqueue(film);
save.onclick = () => canvas.toBlob((png) => {
  Object.assign(document.createElement("a"), { href: URL.createObjectURL(png), download: "cutout.png" }).click();
});
document.ondragover = (event) => { event.preventDefault(); stage.classList.add("over"); };
document.ondragleave = () => stage.classList.remove("over");
document.ondrop = (event) => { event.preventDefault(); document.ondragleave(); if (event.dataTransfer.files[0]) open(event.dataTransfer.files[0]); };
