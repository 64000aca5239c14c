// Query TensorFlow Serving from Node.js.
//
//   npm install @grpc/grpc-js @grpc/proto-loader
//   node examples/grpc_client.js 127.0.0.1:8500 alexnet photo.jpg
"use strict";

const fs = require("fs");
const path = require("path");
const grpc = require("@grpc/grpc-js");
const protoLoader = require("@grpc/proto-loader");

const STRING = 7; // tensorflow.DataType.DT_STRING

const definition = protoLoader.loadSync(path.join(__dirname, "protos", "predict.proto"), {
  keepCase: true,
  longs: Number,
});
const serving = grpc.loadPackageDefinition(definition).tensorflow.serving;

function main(server, model, ...files) {
  const client = new serving.PredictionService(server, grpc.credentials.createInsecure());
  const request = {
    model_spec: { name: model },
    inputs: {
      image_bytes: {
        dtype: STRING,
        tensor_shape: { dim: [{ size: files.length }] },
        string_val: files.map((file) => fs.readFileSync(file)),
      },
    },
  };
  client.Predict(request, { deadline: Date.now() + 30000 }, (error, response) => {
    client.close();
    if (error) {
      console.error(`${server}: ${error.message}`);
      process.exitCode = 1;
      return;
    }
    const { labels, scores, valid } = response.outputs;
    const top = labels?.string_val?.length / files.length;
    const hasScores = scores?.float_val?.length === top * files.length;
    if (!Number.isInteger(top) || !hasScores || valid?.bool_val?.length !== files.length) {
      console.error(`${server}: not the response of an exported model`);
      process.exitCode = 1;
      return;
    }
    // Labels of a server that you do not know could hold control characters of terminals.
    const names = labels.string_val.map((label) => label.toString().replace(/\p{C}/gu, ""));
    files.forEach((file, row) => {
      const at = (column) => row * top + column;
      const predictions = [...Array(top).keys()].map(
        (column) => `${names[at(column)]} ${scores.float_val[at(column)].toFixed(3)}`,
      );
      console.log(file, valid.bool_val[row] ? predictions.join("  ") : "cannot be decoded");
    });
  });
}

main(...process.argv.slice(2));
