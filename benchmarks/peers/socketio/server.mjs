// The peer: a Socket.IO 4 chat with its Redis adapter, set up as in their documentation.
// https://socket.io/docs/v4/redis-adapter/
//
// PORT and REDIS_URL come from the environment. A client names its room in the handshake's
// query (`?room=name`) and sends `chat`, which goes to everyone in the room, the sender included.
import { createServer } from "node:http";
import { createAdapter } from "@socket.io/redis-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";

const pubClient = createClient({ url: process.env.REDIS_URL });
const subClient = pubClient.duplicate();
await Promise.all([pubClient.connect(), subClient.connect()]);

const httpServer = createServer();
const io = new Server(httpServer, {
  adapter: createAdapter(pubClient, subClient),
  transports: ["websocket"],
});

io.on("connection", (socket) => {
  const room = String(socket.handshake.query.room);
  socket.join(room);
  socket.on("chat", (data) => {
    io.to(room).emit("chat", data);
  });
});

httpServer.listen(Number(process.env.PORT), "127.0.0.1", 4096);
