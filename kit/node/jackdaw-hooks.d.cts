// The types of jackdaw-hooks.cjs, for TypeScript.

/** The requests of the API that a fault is for. */
export interface For {
  /** The number of requests; 1 without it. */
  times?: number;
  /** Only requests with this client id. */
  client?: string;
  /** Only requests to this virtual broker. */
  broker?: number;
}

export type Cut = 'before-request' | 'before-answer' | 'after-answer';

/** The fields that docs/testing.md lists. Times are in milliseconds. */
export interface Effects {
  error?: string;
  delay_ms?: number;
  answer_delay_ms?: number;
  cut?: Cut;
}

/** A fault that is not used up. */
export interface Fault {
  /** Its number. */
  fault: number;
  api: string;
  client: string | null;
  broker: number | null;
  /** The number of requests that it still waits for. */
  left: number;
  error: string | null;
  delay_ms: number;
  answer_delay_ms: number;
  cut: Cut | null;
}

/** A hook was refused; the message says why. */
export class HookError extends Error {
  /** The status of the answer. That of a deadline that has passed is 408. */
  readonly status: number;
}

/** The hooks of the broker whose HTTP server has this address. Elsewhere than on localhost it asks for a token. */
export class Hooks {
  constructor(url?: string, options?: { token?: string });

  /** The next request of the API fails with this error of Kafka, and changes nothing. */
  fail(api: string, error: string, more?: For): Promise<number>;
  /** The next request of the API waits before it is handled. */
  delay(api: string, ms: number, more?: For): Promise<number>;
  /** The next request of the API is handled at once, and answered later. */
  delayAnswer(api: string, ms: number, more?: For): Promise<number>;
  /** The connection of the next request is closed: before-answer if you do not say when. */
  cut(api: string, at?: Cut, more?: For): Promise<number>;
  /** Adds a fault, and returns its number. */
  inject(api: string, fields: Effects & For): Promise<number>;
  /** The faults that are not used up. */
  faults(): Promise<Fault[]>;
  /** Removes a fault. False if it is used up already. */
  removeFault(fault: number): Promise<boolean>;
  removeAllFaults(): Promise<void>;
  /** Waits until a fault has met all of its requests. */
  waitForFault(fault: number, timeout?: number): Promise<void>;

  /** Makes all members of a group join again. */
  rebalance(group: string): Promise<void>;
  /** Ends the session of a member, by its member id, group.instance.id or client id. */
  expireSession(group: string, member: string): Promise<void>;
  /** Fences the producer of a transactional id, as another one that starts with the same id does. */
  fenceProducer(transactionalId: string): Promise<void>;
  /** Aborts the open transaction of a transactional id, as its timeout does. */
  abortTransaction(transactionalId: string): Promise<void>;
  /** Stops a virtual broker, also the only one. These hooks stay reachable. */
  stopBroker(broker: number): Promise<void>;
  /** Starts a virtual broker that was stopped, at its old addresses. */
  startBroker(broker: number): Promise<void>;
  /** Makes a running virtual broker the leader of a partition. */
  moveLeader(topic: string, partition: number, broker: number): Promise<void>;
  /** Refuses records as on a full disk. Nothing is written. */
  fillDisk(): Promise<void>;
  freeDisk(): Promise<void>;
  /** Turns the broker's clock forward, and ends what is overdue then. */
  turnClock(ms: number): Promise<void>;

  /** Waits until a topic has at least this many records, and returns their number. */
  waitForRecords(topic: string, records: number, timeout?: number): Promise<number>;
  /** Waits until a group is in a state, Stable if you name none, and has this many members. */
  waitForGroup(group: string, what?: { state?: string; members?: number; timeout?: number }): Promise<void>;
  /** Waits until a group has committed the end of the topic, or of all topics that it has committed offsets of. */
  waitForNoLag(group: string, what?: { topic?: string; timeout?: number }): Promise<void>;
}
