/** The program, for those who start it on their own. */
export const binary: string;

export interface Broker {
  /** The addresses of all brokers, for `bootstrap.servers`. */
  readonly bootstrap: string;
  /** The address for health checks and metrics, as "host:port", where `--http` was among the arguments. */
  readonly http: string | null;
  readonly pid: number;
  /** Stops the broker and waits for its end. A second call does nothing. */
  stop(): Promise<void>;
}

/**
 * Starts a broker in memory, on a free port of this machine, and returns it when it serves clients. It ends with this
 * process at the latest. The arguments are those of `jackdaw serve`: `start('--brokers', '3')`.
 */
export function start(...args: string[]): Promise<Broker>;
