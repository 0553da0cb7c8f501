// Opens age files by age-encryption (TypeScript): lines of {"identity", "file"} (text, base64) in, {"plain"} (base64) or {"error"} out.
import { createInterface } from "node:readline";
import { Decrypter } from "age-encryption";

for await (const line of createInterface({ input: process.stdin })) {
  const asked = JSON.parse(line);
  let answer;
  try {
    const decrypter = new Decrypter();
    decrypter.addIdentity(asked.identity);
    const plain = await decrypter.decrypt(new Uint8Array(Buffer.from(asked.file, "base64")));
    answer = { plain: Buffer.from(plain).toString("base64") };
  } catch (error) {
    answer = { error: error.constructor.name };
  }
  process.stdout.write(JSON.stringify(answer) + "\n");
}
